"""What is installed is ours, complete and locked, and the robot's part of it runs alone."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["adapt", "robot_bridge", "sim", "policies", "calibration", "configs"]
NAMES = [*PACKAGES, "acclimate"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Never on a robot: the learner, the simulator, and what serves them alone.
NOT_ON_A_ROBOT = ["torch", "mujoco", "dm_control", "gymnasium", "onnx", "scipy", "matplotlib"]
# Extras that are too large for what they serve to be installed everywhere.
UNLOCKED = {"ray"}
PIP = [sys.executable, "-m", "pip"]
# torch's own packages for GPUs: it pins them itself, and its CPU build asks for none.
GPU_PARTS = re.compile(r"nvidia-|cuda-|triton")


def clean_environment() -> dict[str, str]:
    """The environment without what would let a child find this repository by accident."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def execute(*words: str | Path, cwd: Path = Path("/"), check: bool = True):
    answer = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=clean_environment())
    assert not check or answer.returncode == 0, answer.stdout + answer.stderr
    return answer


# Names ----------------------------------------------------------------------------------------


def test_installed_names_are_ours():
    script = (
        "import importlib.util, json, sys\n"
        "specs = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}\n"
        "print(json.dumps({name: spec and spec.origin for name, spec in specs.items()}))"
    )
    origins = json.loads(execute(sys.executable, "-c", script, *NAMES).stdout)
    expected = {name: str(ROOT / name / "__init__.py") for name in PACKAGES}
    assert origins == {**expected, "acclimate": str(ROOT / "acclimate.py")}


def test_no_other_distribution_brings_our_names():
    owners = importlib.metadata.packages_distributions()
    assert {name: set(owners.get(name, [])) - {"acclimate"} for name in NAMES} == {
        name: set() for name in NAMES
    }


def test_nothing_is_named_like_a_standard_module():
    top = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not top & set(sys.stdlib_module_names)
    assert set(NAMES) <= top


def test_every_package_of_the_repository_is_installed():
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    tools = {"benchmarks", "fuzz", "tests"}
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - tools
    assert sorted(targets) == sorted([*found, "acclimate.py"])
    layered = PROJECT["tool"]["importlinter"]["root_packages"]
    assert sorted([*layered, "configs"]) == sorted(found)


# The lock -------------------------------------------------------------------------------------


def locked() -> dict[str, str]:
    """Version by canonical name."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", pin), f"not a bare pin: {pin}"
    return {canonicalize_name(name): version for name, version in (p.split("==") for p in pins)}


def required() -> Iterator[tuple[str, Requirement]]:
    """Everything that the project with its locked extras asks for: (who asks, for what)."""
    project = PROJECT["project"]
    chosen = [v for k, v in project["optional-dependencies"].items() if k not in UNLOCKED]
    groups = [project["dependencies"], *chosen]
    todo = [("pyproject.toml", Requirement(text)) for group in groups for text in group]
    done: set[str] = set()
    while todo:
        asker, requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        extras = ["", *requirement.extras]
        if name == "acclimate":
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        yield asker, requirement
        if f"{name}{sorted(extras)}" in done:
            continue
        done.add(f"{name}{sorted(extras)}")
        for text in importlib.metadata.requires(name) or []:
            inner = Requirement(text)
            if inner.marker and not any(inner.marker.evaluate({"extra": e}) for e in extras):
                continue
            inner.marker = None
            if not (name == "torch" and GPU_PARTS.match(inner.name)):
                todo.append((name, inner))


def test_the_lock_satisfies_the_project_and_every_package_in_it():
    pins = locked()
    wrong = [
        f"{asker} wants {requirement}, locked {pins.get(canonicalize_name(requirement.name))}"
        for asker, requirement in required()
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
        or canonicalize_name(requirement.name) not in pins
    ]
    assert not wrong


def test_the_lock_holds_only_required_packages():
    assert set(locked()) == {canonicalize_name(requirement.name) for _, requirement in required()}


def test_the_cpu_build_differs_in_onnxruntime_alone():
    lines = (ROOT / "requirements-cpu.txt").read_text().splitlines()
    cpu = {Requirement(line) for line in lines if not line.startswith("#")}
    gpu = {Requirement(text) for text in PROJECT["project"]["dependencies"]}
    common, builds = cpu & gpu, {each for each in gpu if each.name.startswith("onnxruntime")}
    assert gpu - common == builds
    (alone,) = cpu - common
    assert {(each.name, each.specifier) for each in builds} == {
        ("onnxruntime", alone.specifier),
        ("onnxruntime-gpu", alone.specifier),
    }


def test_this_environment_is_the_locked_one():
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in locked()}
    assert versions == locked()


def test_the_build_backend_is_locked():
    (backend,) = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
    assert backend.specifier.contains(locked()[backend.name])


# The wheel ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    execute(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheels(wheel: Path) -> Path:
    """Wheels of what the runtime asks for, kept beside the environment until a version changes:
    onnxruntime alone is 255 MB, and an index need not let pip keep it."""
    asked = (ROOT / "requirements.lock").read_bytes(), *PROJECT["project"]["dependencies"]
    folder = Path(sys.prefix) / "runtime-wheels" / hashlib.sha256(repr(asked).encode()).hexdigest()
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.parent.mkdir()
        partial = folder.with_suffix(".partial")
        lock = ROOT / "requirements.lock"
        execute(*PIP, "wheel", "--quiet", "--constraint", lock, "--wheel-dir", partial, wheel)
        (partial / wheel.name).unlink()
        partial.rename(folder)
    return folder


@pytest.fixture(scope="module")
def robot(wheel: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and what it asks for: its folder of programs."""
    folder = tmp_path_factory.mktemp("robot")
    venv.create(folder)
    programs = folder / "bin"
    pip = [*PIP, "--python", programs / "python"]
    # Compiled when imported: most of it never is here.
    only = ["--no-compile", "--no-index", "--find-links", wheels]
    execute(*pip, "install", "--quiet", *only, wheel)
    return programs


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == ours | {"acclimate.py"}
    typed = {name.partition("/")[0] for name in packed if name.endswith("/py.typed")}
    assert typed == set(PACKAGES) - {"configs"}


@pytest.mark.slow
def test_the_runtime_imports_without_learner_and_simulator(robot: Path):
    script = f"""
import importlib, importlib.util, json, pkgutil, sys
present = [name for name in {NOT_ON_A_ROBOT} if importlib.util.find_spec(name)]
import adapt, robot_bridge
for package in (adapt, robot_bridge):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(json.dumps([present, adapt.__file__]))
"""
    present, origin = json.loads(execute(robot / "python", "-c", script).stdout)
    assert present == []
    assert Path(origin).is_relative_to(robot.parent)


@pytest.mark.slow
def test_the_runtime_is_all_there_for_the_doctor(robot: Path):
    report = json.loads(execute(robot / "acclimate", "doctor", "json=true").stdout)
    found = {each["name"]: each["found"] for each in report["findings"]}
    assert report["usable"]
    assert (found["torch"], found["CPU provider"]) == ("not installed", "runs")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--help"], ["bridge", "--help"], ["trial", "--help"], ["bundle", "--help"]]
)
def test_the_robots_commands_answer_there(robot: Path, words: list[str]):
    assert len(execute(robot / "acclimate", *words).stdout.splitlines()) > 3


@pytest.mark.slow
def test_a_bundle_runs_there(robot: Path, tmp_path: Path):
    bundle = tiny_bundle.write(tmp_path / "bundle")
    execute(robot / "acclimate", "bundle", "verify", bundle)
    script = f"""
import numpy as np
from pathlib import Path
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
adapter = make_adapter(PolicyBundle.load(Path({str(bundle)!r})), 0)
adapter.reset()
adapter.begin_episode()
size = adapter.bundle.manifest.observation_size
print(np.isfinite(adapter.act(np.zeros(size, np.float32)).physical).all())
"""
    assert execute(robot / "python", "-c", script).stdout == "True\n"


@pytest.mark.slow
def test_training_there_says_what_is_missing(robot: Path):
    for command in ("train", "demo", "twin"):
        answer = execute(robot / "acclimate", command, check=False)
        assert answer.returncode == 2
        assert "pip install '.[train]'" in answer.stderr
        assert "Traceback" not in answer.stderr
