"""The doctor says what is there, and what is in the way, in words and as JSON."""

import importlib.metadata
import json
import os
import sys
import types

import pytest

from robot_bridge.cli import doctor
from robot_bridge.system import host_info as machine

SCHEDULER = os.sched_getscheduler(0)  # before any test has run


def report(capsys: pytest.CaptureFixture) -> tuple[int, dict]:
    code = doctor.main(["json=true"])
    return code, json.loads(capsys.readouterr().out)


def finding(findings: list[doctor.Finding], name: str) -> doctor.Finding:
    (found,) = [each for each in findings if each.name == name]
    return found


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch):
    """Pretend that packages have other versions, or (None) are not installed."""
    real = importlib.metadata.version

    def pretend(**changed: str | None) -> None:
        def version(name: str) -> str:
            key = name.lower().replace("-", "_")
            if key not in changed:
                return real(name)
            if changed[key] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return str(changed[key])

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


def test_this_machine_runs_the_runtime(capsys: pytest.CaptureFixture):
    code, answer = report(capsys)
    problems = [each for each in answer["findings"] if each["state"] == "problem"]
    assert (code, answer["usable"], problems) == (0, True, [])
    versions = {each["name"]: each["found"] for each in answer["findings"]}
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["CPU provider"] == "runs"


def test_every_package_the_project_asks_for_is_reported(capsys: pytest.CaptureFixture):
    _, answer = report(capsys)
    names = {each["name"] for each in answer["findings"]}
    assert {"msgspec", "pyzmq", "hydra-core", "torch", "mujoco", "matplotlib"} <= names
    assert "pytest" not in names


def test_the_table_holds_the_findings_of_the_json(capsys: pytest.CaptureFixture):
    _, answer = report(capsys)
    doctor.main([])
    table = capsys.readouterr().out
    for each in answer["findings"]:
        assert each["name"] in table
        assert each["found"] in table


def test_a_missing_runtime_package_is_a_problem_with_its_remedy(versions, capsys):
    versions(pyzmq=None)
    assert doctor.main([]) == 1
    shown = capsys.readouterr().out
    assert "pyzmq: not installed; pip install ." in shown
    assert "not usable" in shown


def test_a_missing_extra_is_a_choice(versions, capsys):
    versions(torch=None, mujoco=None)
    code, answer = report(capsys)
    torch = next(each for each in answer["findings"] if each["name"] == "torch")
    assert (code, torch["state"], torch["found"]) == (0, "absent", "not installed")
    assert "pip install '.[train]'" in torch["remedy"]


def test_a_version_outside_the_range_is_named(versions):
    versions(numpy="1.26.4")
    numpy = finding(doctor.examine(), "numpy")
    assert numpy.state == "problem"
    assert "1.26.4, outside" in numpy.found


def test_an_environment_without_the_project_is_a_problem(versions, capsys):
    versions(acclimate=None)
    code, answer = report(capsys)
    assert code == 1
    assert any("pip install ." in each["remedy"] for each in answer["findings"])


def test_the_cpu_build_of_onnxruntime_serves_too(versions):
    versions(onnxruntime="1.31.1", onnxruntime_gpu=None)
    found = finding(doctor.examine(), "onnxruntime")
    assert (found.found, found.state) == ("1.31.1", "ok")
    versions(onnxruntime=None, onnxruntime_gpu=None)
    assert finding(doctor.examine(), "onnxruntime-gpu").state == "problem"


def test_both_onnxruntimes_at_once_are_a_problem(versions):
    versions(onnxruntime="1.31.1", onnxruntime_gpu="1.31.1")
    both = finding(doctor.examine(), "onnxruntime")
    assert both.state == "problem"
    assert "both installed" in both.found


def test_a_provider_that_falls_back_is_not_taken_for_running():
    # Without a GPU, CUDA is built in and cannot load; with one, it may run.
    answer = doctor._try_provider("CUDAExecutionProvider")
    assert answer == "" or "falls back" in answer or answer.startswith("fails")
    if not machine.gpu_names():
        assert answer


def test_a_gpu_whose_provider_does_not_load_is_advice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "gpu_names", lambda: ("NVIDIA Test",))
    monkeypatch.setattr(doctor, "_try_provider", lambda provider: "" if "CPU" in provider else "no")
    monkeypatch.setitem(
        sys.modules,
        "onnxruntime",
        types.SimpleNamespace(
            get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        ),
    )
    findings = list(doctor._inference())
    cuda = finding(findings, "CUDA provider")
    assert (cuda.state, cuda.remedy) == ("advice", "install CUDA 13 and cuDNN 9")


def test_a_cpu_provider_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "_try_provider", lambda provider: "no")
    assert finding(list(doctor._inference()), "CPU provider").state == "problem"


@pytest.mark.parametrize(
    ("function", "value", "name"),
    [
        ("realtime_priority", False, "SCHED_FIFO"),
        ("lockable_memory", 65536, "locked memory"),
        ("realtime_kernel", False, "kernel"),
        ("realtime_share", 0.95, "SCHED_FIFO's share"),
        ("frequency_governor", "powersave", "frequency governor"),
        ("cores", 1, "cores"),
    ],
)
def test_what_a_control_loop_lacks_is_advice_with_a_remedy(
    function: str, value: object, name: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(machine, function, lambda: value)
    code, answer = report(capsys)
    lacking = next(each for each in answer["findings"] if each["name"] == name)
    assert (code, lacking["state"]) == (0, "advice")
    assert lacking["remedy"]


def test_rights_that_are_there_are_no_advice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "realtime_priority", lambda: True)
    monkeypatch.setattr(machine, "lockable_memory", lambda: None)
    monkeypatch.setattr(machine, "realtime_kernel", lambda: True)
    monkeypatch.setattr(machine, "realtime_share", lambda: 1.0)
    monkeypatch.setattr(machine, "frequency_governor", lambda: "performance")
    monkeypatch.setattr(machine, "cores", lambda: 4)
    assert {each.state for each in doctor._realtime()} == {"ok"}


def test_trying_real_time_priority_leaves_this_thread_as_it_was():
    machine.realtime_priority()
    assert os.sched_getscheduler(0) == SCHEDULER


@pytest.mark.parametrize(
    ("runtime", "period", "share"),
    [("950000", "1000000", 0.95), ("-1", "1000000", 1.0), ("1000000", "1000000", 1.0), ("", "", 1)],
)
def test_what_the_kernel_leaves_to_real_time_is_read(runtime, period, share, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_KERNEL", tmp_path)
    if runtime:
        (tmp_path / "sched_rt_runtime_us").write_text(runtime + "\n")
        (tmp_path / "sched_rt_period_us").write_text(period + "\n")
    assert machine.realtime_share() == pytest.approx(share)
