"""Run folders: held by one training, whole after Ctrl-C, and clear about what cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from adapt.errors import AcclimateError
from policies.evaluation.cli import main as evaluate
from policies.export.cli import main as export
from policies.training.checkpoint import load_checkpoint, save_checkpoint
from policies.training.cli import main, train
from policies.training.files import LOCK, OutputError, ensure_folder, held, write_atomically
from policies.training.runs import RunFolder
from tests.policies.training.test_train import settings
from tests.support.full_disk import full_disk
from tests.support.random_search import SearchSettings

pytestmark = pytest.mark.usefixtures("installed")

WORDS = [
    "experiment=point_sparse", "worlds=2", "run_steps=20", "train_tasks=4", "script_iterations=1",
    "updates_per_iteration=1", "validation_tasks=2", "validation_episodes=1", "validation_every=1",
    "checkpoint_every=1", "threads=1", "learner.capacity=20", "learner.tasks_per_batch=2",
    "learner.rows_per_task=4", "learner.actor_hidden=[16]", "learner.critic_hidden=[16]",
]  # fmt: skip


def start(*words: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "acclimate", "train", *WORDS, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} has not come"
        time.sleep(0.02)


# One training in a folder -----------------------------------------------------------------------


def test_a_second_training_in_a_folder_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = start("iterations=100000", f"out={out}")
    try:
        wait_for(out / "checkpoint.pt")
        before = (out / "settings.yaml").read_bytes()
        with pytest.raises(OutputError, match=rf"process {first.pid} on \S+ since 20\d\d-"):
            train(settings(out))
        assert (out / "settings.yaml").read_bytes() == before
    finally:
        first.kill()
        first.communicate()
    # A killed one holds nothing.
    with held(out):
        assert json.loads((out / LOCK).read_text())["pid"] == os.getpid()
    assert (out / LOCK).read_text() == ""


def test_a_start_removes_the_drafts_of_a_killed_one_and_writes_what_it_had_not(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    wanted = SearchSettings("search", out)
    RunFolder(wanted)
    (out / "run.json").unlink()  # it ended between the two
    for name in (".checkpoint.pt.12ab.draft", ".best.pt.77.draft", ".settings.yaml.9.draft"):
        (out / name).write_bytes(b"half")
    (out / ".mine.txt").touch()
    with held(out):
        RunFolder(wanted)
    assert sorted(p.name for p in out.iterdir()) == [LOCK, ".mine.txt", "run.json", "settings.yaml"]


# Ctrl-C -----------------------------------------------------------------------------------------


class Interrupting:
    """Pickled, it sends this process what Ctrl-C does."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        signal.raise_signal(signal.SIGINT)
        return OrderedDict, ()


def test_ctrl_c_inside_a_checkpoint_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"before": 1, "interrupting": Interrupting(), "after": 2})
    assert load_checkpoint(path) == {
        "before": 1,
        "interrupting": OrderedDict(),
        "after": 2,
    }
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_ends_a_sweep_and_leaves_whole_files(tmp_path: Path) -> None:
    words = ("-m", "seed=0,1", "iterations=100000", f"out={tmp_path}/${{seed}}")
    process = start(*words, cwd=tmp_path)
    wait_for(tmp_path / "0" / "checkpoint.pt")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in told
    assert not (tmp_path / "1").exists()
    assert load_checkpoint(tmp_path / "0" / "checkpoint.pt")["iteration"] >= 1
    assert not list((tmp_path / "0").glob(".*.draft"))


# What cannot be written -------------------------------------------------------------------------


def test_a_full_disk_inside_a_checkpoint_says_so_and_keeps_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"iteration": 1})
    free = r"File too large \(\d+ MB are free there\)"
    with full_disk(10_000), pytest.raises(OutputError, match=free) as told:
        save_checkpoint(path, {"iteration": torch.zeros(10_000)})
    assert "checkpoint.pt is still the one before" in str(told.value)
    assert load_checkpoint(path) == {"iteration": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


@pytest.mark.parametrize("limit", [1_000, 30_000])
def test_a_training_that_fills_the_disk_ends_with_one_line(tmp_path: Path, limit: int) -> None:
    """Files may have so many bytes: settings do not fit, or a checkpoint does not."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start("iterations=2", f"out={tmp_path / 'run'}", preexec_fn=limited)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert "cannot be written: File too large" in told and "Traceback" not in told


def test_an_out_that_is_a_file_or_below_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    run = tmp_path / "run"
    train(SearchSettings("search", run, iterations=2, threads=1))
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="file is a file; expected a folder"):
            main([*WORDS, f"out={out}"])
        with pytest.raises(OutputError, match="file is a file; expected a folder"):
            evaluate([f"run={tmp_path / 'run'}", f"out={out}"])
    with pytest.raises(OutputError, match="file is a file; expected a folder"):
        export([f"run={run}", f"out={tmp_path / 'file' / 'bundle'}"])
    with pytest.raises(OutputError, match=f"^{tmp_path / 'file'} is a file"):
        ensure_folder(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root may write everywhere
    for write in (
        lambda: train(SearchSettings("search", tmp_path / "run")),
        lambda: export(["run=any", f"out={tmp_path / 'bundle'}"]),
    ):
        with pytest.raises(AcclimateError, match="cannot be written: Permission denied"):
            write()


def test_an_error_that_is_none_of_the_disks_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        save_checkpoint(tmp_path / "checkpoint.pt", {"no tensor": lambda: None})
    write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]
