"""Export: the bundle acts as torch does, on inputs it was not traced with and in closed loop."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError, BundleError
from adapt.guard import Guard
from policies.algorithms.pearl.agent import PearlPolicy
from policies.export.cli import main
from policies.export.exporter import export
from policies.export.graphs import onnx_graph
from policies.export.observed_range import seen_in, summary
from policies.export.parity import Parity, closed_loop
from policies.training.checkpoint import load_checkpoint
from policies.training.cli import train
from policies.training.runs import load_best
from policies.training.trainer import Trainer
from tests.policies.training.test_train import settings

ROOT = Path(__file__).resolve().parents[3]


def policy_of(trainer: Trainer) -> PearlPolicy:
    policy = trainer.learner.policy()
    assert isinstance(policy, PearlPolicy)
    return policy


def parity_of(trainer: Trainer, bundle: PolicyBundle, tasks: int, seed: int) -> Parity:
    return closed_loop(trainer.learner.policy(), trainer.family, bundle, tasks, 1, seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(settings(out))
    return out


@pytest.fixture(scope="module")
def bundle(run: Path) -> PolicyBundle:
    trainer, state = load_best(run)
    return export(trainer, state, run.parent / "bundle", "small", run)


def test_graphs_answer_as_torch_does(run: Path, bundle: PolicyBundle) -> None:
    trainer, _ = load_best(run)
    rng = np.random.default_rng(3)
    manifest = bundle.manifest
    observation = rng.normal(size=(7, manifest.observation_size)).astype(np.float32)
    latent = rng.normal(size=(7, manifest.latent.size)).astype(np.float32)
    found = bundle.policy.run(observation=observation, latent=latent)
    with torch.no_grad():
        mean, log_std = policy_of(trainer).actor(
            torch.from_numpy(observation), torch.from_numpy(latent)
        )
    np.testing.assert_allclose(found["mean"], mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["log_std"], log_std.numpy(), atol=1e-5)


class Line(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (2 * x,)


def test_the_exporter_prints_no_advice_of_torch(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    onnx_graph(Line(), {"x": torch.ones(3, 2)}, ("y",), "line", {})
    assert not recwarn.list
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_graphs_say_nothing_of_where_they_were_made(run: Path, bundle: PolicyBundle) -> None:
    assert "encoder" in bundle.graphs
    for path in (*run.parent.glob("bundle/*.onnx"), *ROOT.glob("bundles/*/*.onnx")):
        found = path.read_bytes()
        assert b"site-packages" not in found, path
        assert bytes(ROOT) not in found, path


def test_graphs_carry_names_units_and_period(run: Path, bundle: PolicyBundle) -> None:
    for path in run.parent.glob("bundle/*.onnx"):
        props = {each.key: json.loads(each.value) for each in onnx.load(path).metadata_props}
        manifest = bundle.manifest
        assert props["control_period"] == {"value": manifest.control_period, "unit": "s"}
        units = [(field["name"], field["unit"]) for field in props["observation"]]
        assert units == [(field.name, field.unit) for field in manifest.observation]
        scales = [field["scale"] for field in props["action"]]
        assert scales == [field.scale for field in manifest.action]


def test_closed_loop_parity(run: Path, bundle: PolicyBundle) -> None:
    trainer, _ = load_best(run)
    parity = parity_of(trainer, bundle, 2, 5)
    assert parity.steps > 50
    assert parity.worst < 1e-5
    with torch.no_grad():
        next(policy_of(trainer).actor.parameters()).mul_(1.01)
    assert parity_of(trainer, bundle, 1, 5).action > 1e-5


def test_the_manifest_says_what_the_spec_says(run: Path, bundle: PolicyBundle) -> None:
    trainer, _ = load_best(run)
    manifest, spec = bundle.manifest, trainer.family.spec
    assert manifest.observation == list(spec.observation)
    assert manifest.action == list(spec.action)
    assert [f.name for f in manifest.latent.factors] == [f.name for f in spec.factors]
    assert manifest.training["settings"]["worlds"] == 3
    assert manifest.task_space["name"] == "insertion"


def test_the_manifest_says_what_training_saw(run: Path, bundle: PolicyBundle) -> None:
    arrays = load_checkpoint(run / "checkpoint.pt")["replay"]["arrays"]
    rows = arrays["observation"].numpy()[arrays["valid"].numpy() > 0]
    seen = bundle.manifest.seen
    assert seen is not None
    assert seen.rows == len(rows) > 100
    np.testing.assert_array_equal(seen.low, rows.min(axis=0))
    np.testing.assert_array_equal(seen.high, rows.max(axis=0))
    np.testing.assert_allclose(seen.mean, rows.mean(axis=0, dtype=np.float64))
    # A robot that does what training did is inside; one ten times as far out is not.
    guard = Guard(bundle.manifest)
    assert all(guard.observation(row).inside for row in rows[:500])
    far = 10.0 * np.abs(rows).max(axis=0)
    assert not [guard.observation(far) for _ in range(20)][-1].inside


def test_a_run_without_its_checkpoint_exports_without(tmp_path: Path) -> None:
    assert seen_in(tmp_path) is None
    assert summary(np.zeros((0, 3), np.float32)) is None


def test_normalisers_are_inside_the_graph(run: Path, bundle: PolicyBundle) -> None:
    trainer, _ = load_best(run)
    model = onnx.load(run.parent / "bundle" / "policy.onnx")
    stored = [onnx.numpy_helper.to_array(i).ravel() for i in model.graph.initializer]
    mean = policy_of(trainer).actor.normaliser.mean.numpy()
    assert any(a.size == mean.size and np.allclose(a, mean) for a in stored)


def test_a_policy_without_a_latent_exports_too(tmp_path: Path) -> None:
    plain = settings(tmp_path / "run")
    train(replace(plain, iterations=2, learner=replace(plain.learner, objective="none")))
    trainer, state = load_best(tmp_path / "run")
    bundle = export(trainer, state, tmp_path / "bundle", "fixed", tmp_path / "run")
    assert bundle.manifest.algorithm.kind == "none"
    assert bundle.manifest.latent.size == 0
    assert parity_of(trainer, bundle, 1, 0).worst < 1e-5


def test_a_policy_that_is_told_the_truth_is_no_bundle(tmp_path: Path) -> None:
    plain = settings(tmp_path / "run")
    train(replace(plain, iterations=2, learner=replace(plain.learner, objective="privileged")))
    trainer, state = load_best(tmp_path / "run")
    with pytest.raises(AcclimateError, match="told the true task; no robot can be"):
        export(trainer, state, tmp_path / "bundle", "told", tmp_path / "run")
    assert not (tmp_path / "bundle").exists()


def test_nothing_is_overwritten_and_nothing_half_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(AcclimateError, match="exists already"):
        main([f"run={tmp_path}", f"out={tmp_path / 'taken'}"])  # before the run is looked at
    trainer, state = load_best(run)
    with pytest.raises(BundleError, match="exists"):
        export(trainer, state, tmp_path / "taken", "taken", run)
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
    with pytest.raises(AcclimateError, match="not a run folder"):
        main([f"run={tmp_path}", f"out={tmp_path / 'new'}"])
    assert not (tmp_path / "new").exists()
