"""The command line: every command answers, and errors of the user's end without a traceback."""

import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import acclimate
from adapt.errors import AcclimateError

ROOT = Path(__file__).resolve().parents[1]
# What the robot's runtime leaves out, and which rooms need it.
EXTRA_OF_ROOM = {"sim": "mujoco", "policies": "torch", "calibration": "mujoco"}


def run(*words: str, at: Path = ROOT, **options) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("acclimate"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=at, **options)


@pytest.mark.parametrize("name", acclimate.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture):
    room = acclimate.COMMANDS[name][0].partition(".")[0]
    extra = EXTRA_OF_ROOM.get(room)
    if extra and importlib.util.find_spec(extra) is None:
        pytest.skip(f"{name} needs the extra that brings {extra}")
    with pytest.raises(SystemExit) as stop:
        acclimate.load(name)(["--help"])
    assert stop.value.code in (0, None)
    assert len(capsys.readouterr().out) > len(name)


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture):
    assert acclimate.main(words) == (0 if words else 2)
    lines = capsys.readouterr().out.splitlines()
    for name, (_, text) in acclimate.COMMANDS.items():
        assert any(line.split() == [name, *text.split()] for line in lines)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture):
    assert acclimate.main(["--version"]) == 0
    assert capsys.readouterr().out == f"acclimate {importlib.metadata.version('acclimate')}\n"


@pytest.mark.parametrize("hiding", ["sim/__init__.py", "configs.py", "adapt/__init__.py"])
def test_a_users_package_that_hides_ours_is_named(hiding: str, tmp_path: Path):
    (tmp_path / hiding).parent.mkdir(exist_ok=True)
    (tmp_path / hiding).touch()
    answer = run("doctor", env={**os.environ, "PYTHONPATH": f"{tmp_path}"}, at=tmp_path)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert str(tmp_path / hiding.partition("/")[0]) in line
    assert "family=FOLDER/FILE.py:NAME" in line
    assert "PYTHONPATH" in line


def test_folders_without_python_hide_nothing(tmp_path: Path):
    for name in acclimate.OURS:
        (tmp_path / name).mkdir()
    answer = run("--version", env={**os.environ, "PYTHONPATH": f"{tmp_path}"}, at=tmp_path)
    assert answer.returncode == 0, answer.stderr


def test_an_unknown_command_is_answered_with_those_there_are(capsys: pytest.CaptureFixture):
    assert acclimate.main(["trian"]) == 2
    message = capsys.readouterr().err
    assert "'trian'" in message
    assert "train" in message


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Put a function behind the command `probe`."""

    def install(function) -> None:
        monkeypatch.setitem(acclimate.COMMANDS, "probe", ("probe:main", "a test"))
        monkeypatch.setattr(acclimate, "load", lambda name: function)

    return install


def test_a_users_error_is_one_line_and_exit_code_2(command, capsys: pytest.CaptureFixture):
    def fail(argv: list[str]) -> int:
        raise AcclimateError(f"no file {argv[0]}")

    command(fail)
    assert acclimate.main(["probe", "x.zip"]) == 2
    assert capsys.readouterr().err == "acclimate probe: no file x.zip\n"


@pytest.mark.parametrize("name", ["stop", "release"])
def test_an_address_is_not_taken_for_a_robot(name: str, capsys: pytest.CaptureFixture):
    for address in ("tcp://bridge.lab:5555", "endpoint=/tmp/b", "robot=ipc:///tmp/b"):
        assert acclimate.main([name, address]) == 2
    assert "an address is given as endpoint=tcp://bridge.lab:5555" in capsys.readouterr().err


def test_a_fault_of_our_own_keeps_its_traceback(command):
    def fail(argv: list[str]) -> int:
        return {}["ours"]

    command(fail)
    with pytest.raises(KeyError):
        acclimate.main(["probe"])


def test_a_missing_extra_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, capsys):
    entry = ("torch_that_is_not_here:main", "a test")
    monkeypatch.setitem(acclimate.COMMANDS, "probe", entry)
    assert acclimate.main(["probe"]) == 2
    message = capsys.readouterr().err
    assert "torch_that_is_not_here" in message
    assert "pip install '.[train]'" in message


def test_a_missing_module_of_our_own_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(acclimate.COMMANDS, "probe", ("adapt.not_written:main", "a test"))
    with pytest.raises(ModuleNotFoundError):
        acclimate.main(["probe"])


def test_the_listing_imports_nothing_heavy():
    script = (
        "import sys, acclimate; acclimate.main(['--help']);"
        "print(sorted({'numpy', 'onnxruntime', 'torch', 'hydra', 'zmq'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1] == "[]", answer.stderr


def test_an_interrupt_ends_with_130_and_no_traceback(tmp_path: Path):
    (tmp_path / "probe.py").write_text(
        "import os, signal, time\n"
        "def main(argv):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(5)\n"
    )
    script = (
        "import sys, acclimate; acclimate.COMMANDS['probe'] = ('probe:main', '');"
        "sys.exit(acclimate.main(['probe']))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        # A shell that starts jobs in the background may leave SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert answer.returncode == 130
    assert answer.stderr == ""


def test_ctrl_c_while_modules_load_ends_the_process_as_if_python_were_not_there():
    # Raised within an extension's own start, a KeyboardInterrupt can crash the interpreter.
    script = (
        "import acclimate, os, signal; signal.signal(2, signal.default_int_handler);"
        "acclimate.load = lambda name: os.kill(os.getpid(), 2); acclimate.main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_callers_own_ctrl_c_is_left_alone():
    was = signal.getsignal(signal.SIGINT)
    try:
        for own, within in (
            (signal.default_int_handler, signal.SIG_DFL),
            (signal.SIG_IGN, signal.SIG_IGN),
        ):
            signal.signal(signal.SIGINT, own)
            with acclimate.ended_by_ctrl_c():
                assert signal.getsignal(signal.SIGINT) is within
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, was)


def test_a_reader_who_leaves_early_gets_no_traceback():
    answer = run("doctor", "json=true")
    assert len(answer.stdout) > 1000
    read, write = os.pipe()
    os.close(read)
    broken = subprocess.run(
        [sys.executable, "-m", "acclimate", "doctor", "json=true"],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(write)
    assert b"Traceback" not in broken.stderr


def test_the_installed_command_is_this_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"acclimate": "acclimate:main"}
    script = Path(sys.executable).with_name("acclimate")
    answer = subprocess.run([script, "--help"], capture_output=True, text=True, cwd="/")
    assert answer.returncode == 0
    assert "usage: acclimate COMMAND" in answer.stdout
