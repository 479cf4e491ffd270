"""A point on a table that looks for a hidden goal: an ordinary client, and its bundle.

Every period it measures a noisy hint of the goal's position. The bundle's encoder takes each hint
as one Gaussian factor, so its belief is the exact posterior over the goal. Its policy walks to the
belief's mean. The effect of adaptation is therefore known exactly.

    python tests/support/client/toy_robot.py ENDPOINT BUNDLE
        [--name N] [--realtime] [--mute-after STEPS]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from adapt.bundle.algorithms import Gaussian, TransitionRow
from adapt.bundle.fields import ActionField, Factor, Field, Latent, Limit
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import read_manifest, write_bundle
from adapt.errors import AcclimateError
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol.messages import Mode, Outcome
from robot_bridge.system.clock import Rate
from tests.support import tiny_bundle

STEP = 0.1  # longest step per control period [m]
SPREAD = 0.5  # standard deviation of the goal, in each direction [m]
NOISE = 0.4  # standard deviation of a hint [m]
RADIUS = 0.1  # of the goal [m]
HORIZON = 25  # control periods in an episode
GAIN = 8.0
PATIENCE = 2.0  # [s]


def write_point_bundle(path: Path, control_period: float = 0.02) -> Path:
    """Write the point robot's bundle as a folder at path, and return path."""
    manifest = Manifest(
        name="point-goal",
        algorithm=Gaussian(TransitionRow(True, True), capacity=400),
        observation=[
            Field("position", (2,), "m", -10.0, 10.0),
            Field("hint", (2,), "m", -10.0, 10.0),
            Field("wrench", (3,), "N", -200.0, 200.0),
        ],
        action=[ActionField("step", (2,), "m", -STEP, STEP, STEP)],
        squash="tanh",
        control_period=control_period,
        latent=Latent(
            2,
            [0.0, 0.0],
            [1.0, 1.0],
            0,
            [Factor("goal_x", "m", 0.0, SPREAD, 0), Factor("goal_y", "m", 0.0, SPREAD, 1)],
        ),
        limits=[Limit("force", "wrench", -150.0, 150.0, "N", "the table gives way")],
        task_space={"name": "point"},
        training={},
        tools={"onnx": onnx.__version__},
        opset=tiny_bundle.OPSET,
        files={},
    )
    n_o, n_a, n_z, n_c = 7, 2, 2, 7 + 2 + 1 + 7
    eye = np.eye(2, dtype=np.float32)
    weight = np.zeros((n_o + n_z, n_a), np.float32)
    weight[:2], weight[n_o:] = -GAIN * eye, GAIN * SPREAD * eye
    read = np.zeros((n_c, n_z), np.float32)
    read[n_o + n_a + 1 + 2 : n_o + n_a + 1 + 4] = eye / SPREAD
    nothing = np.zeros((n_o + n_z, n_a), np.float32)
    policy = tiny_bundle.model(
        "policy",
        [
            helper.make_node("Concat", ["observation", "latent"], ["x"], axis=1),
            helper.make_node("MatMul", ["x", "weight"], ["mean"]),
            helper.make_node("MatMul", ["x", "nothing"], ["log_std"]),
        ],
        {"observation": n_o, "latent": n_z},
        {"mean": n_a, "log_std": n_a},
        {"weight": weight, "nothing": nothing},
    )
    certainty = np.full((1, n_z), (NOISE / SPREAD) ** 2, np.float32)
    blank = np.zeros((n_c, n_z), np.float32)
    encoder = tiny_bundle.model(
        "encoder",
        [
            helper.make_node("MatMul", ["transition", "read"], ["mean"]),
            helper.make_node("MatMul", ["transition", "blank"], ["zero"]),
            helper.make_node("Add", ["zero", "certainty"], ["variance"]),
        ],
        {"transition": n_c},
        {"mean": n_z, "variance": n_z},
        {"read": read, "blank": blank, "certainty": certainty},
    )
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(3, n_o + n_z)), rng.normal(size=(3, n_c))
    golden = {
        "policy/observation": x[:, :n_o],
        "policy/latent": x[:, n_o:],
        "policy/mean": x @ weight,
        "policy/log_std": x @ nothing,
        "encoder/transition": rows,
        "encoder/mean": rows @ read,
        "encoder/variance": np.repeat(certainty, 3, axis=0),
    }
    graphs = {"policy": policy, "encoder": encoder}
    write_bundle(path, manifest, graphs, {k: v.astype(np.float32) for k, v in golden.items()})
    return path


class Point:
    """The world: a point at position (2,) [m], a hidden goal (2,) [m]."""

    def __init__(self, task: int, episode: int, seed: int) -> None:
        self.goal = np.random.default_rng([seed, task]).normal(0.0, SPREAD, 2)
        self.position = np.zeros(2)
        self._rng = np.random.default_rng([seed, task, episode])

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.position - self.goal))

    def measure(self) -> np.ndarray:
        """(7,): position [m], hint [m], wrench [N]."""
        hint = self.goal + self._rng.normal(0.0, NOISE, 2)
        push = 30.0 * np.exp(-((self.distance / 0.15) ** 2)) + self._rng.normal(0.0, 1.0)
        wrench = [*self._rng.normal(0.0, 1.0, 2), push]
        return np.concatenate([self.position, hint, wrench]).astype(np.float32)


def episode(client: RobotClient, point: Point, rate: Rate | None, mute_after: int) -> Outcome:
    """Walk until the goal, the horizon or a stop."""
    client.ready({"goal_x": point.goal[0], "goal_y": point.goal[1]})
    command = client.exchange(point.measure(), first=True)
    steps, reward = 0, 0.0
    while command.mode is not Mode.STOP:
        if rate is not None:
            rate.wait()
        if command.mode is Mode.TRACK:
            point.position += command.payload
        steps += 1
        done = point.distance < RADIUS
        reward = 1.0 if done else 0.0
        last = done or steps == HORIZON
        if steps == mute_after:
            sys.exit(3)
        command = client.exchange(point.measure(), reward, last=last, terminal=done)
        print(f"step {steps} {command.mode.name} {client.state.reason}", flush=True)
        if last:
            break
    period = client.welcome.control_period if client.welcome else 0.0
    stopped = command.mode is Mode.STOP
    reason = client.state.reason if stopped else "reached" if reward else "time is up"
    measures = {"distance": point.distance}
    return Outcome(reward > 0 and not stopped, steps, steps * period, reason, measures)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("endpoint")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--name", default="point")
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--mute-after", type=int, default=0, help="die after so many steps")
    chosen = parser.parse_args(argv)
    manifest, digest = read_manifest(chosen.bundle)
    client = RobotClient(
        chosen.endpoint,
        chosen.name,
        manifest.observation,
        manifest.action,
        manifest.control_period,
        digest=digest,
        simulated_time=not chosen.realtime,
        # Tests run on busy machines: late here is what would be very late on a robot.
        patience=PATIENCE,
    )
    try:
        with client:
            print("connected", flush=True)
            while True:
                reset = client.wait_reset(1.0)
                if reset is None:
                    continue
                point = Point(reset.task, reset.episode, reset.seed)
                rate = Rate(manifest.control_period) if chosen.realtime else None
                client.end_episode(episode(client, point, rate, chosen.mute_after))
    except AcclimateError as error:
        print(f"toy robot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
