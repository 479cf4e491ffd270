"""The insertion task: bring a plug, known only nominally, into a socket, known only nominally.

Frames: the nominal socket frame has its origin on the nominal socket face, z up out of it. The
tool's pose is that of the nominal plug tip. Everything measured is in the nominal socket frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adapt.bundle.manifest import ActionField, Factor, Field, Limit, Quantity
from sim.core.scene import Scene
from sim.core.task_space import Parameter, Task, TaskSpace
from sim.core.worlds import Step, WorldSpec, check_action
from sim.insertion.body import Body, WristBody
from sim.insertion.plugs import FAMILIES, MM
from sim.insertion.scene import scene
from sim.insertion.wrist import SHAPE, TIMESTEP, seat_pose, task_plug

CONTROL_PERIOD = 0.05
"""[s], 20 Hz: what Cartesian impedance skills on real arms run at."""
SUBSTEPS = round(CONTROL_PERIOD / TIMESTEP)
HORIZON = 50
"""Control periods in an episode: 2.5 s, three times what a plug takes whose socket is known."""

ACTION_SCALE = np.array([1.5 * MM, 1.5 * MM, 2 * MM, 0.02])
"""Largest change of the reference per control period: x, y, z [m], yaw [rad]."""
REFERENCE_CLIP = np.array([5 * MM, 5 * MM, 10 * MM, 0.06])
"""How far the reference may lead the measured pose. With the nominal stiffness this bounds the
force that the arm can exert to 6 N sideways, 25 N along the axis and 1.2 N·m about it."""
WORKSPACE_LOW = np.array([-8 * MM, -8 * MM, -40 * MM, -0.3])
WORKSPACE_HIGH = np.array([8 * MM, 8 * MM, 15 * MM, 0.3])

FORCE_LIMIT = 80.0
"""Contact force [N] that ends the episode as a failure."""
FORCE_COMFORT = 30.0
"""Contact force [N] above which critics see a cost."""
START_HEIGHT = 6 * MM
START_NOISE = 1 * MM
SEATED_PERIODS = 2
"""Consecutive control periods that the plug must be seated for success: not a bounce."""
SEATED_WITHIN = 1 * MM
SEATED_FRACTION = 0.95
FORCE_NOISE, TORQUE_NOISE, POSE_NOISE = 0.3, 0.005, 0.02 * MM

SUCCESS_REWARD = 10.0
BREAKING_COST = 30.0
"""As much as a whole episode of failure costs, so that breaking the part is never a way out."""

SPACE = TaskSpace(
    "insertion",
    (
        Parameter("family", "1", 0, len(FAMILIES) - 1, "choice", 0, FAMILIES, unseen=("bs_1363",)),
        # Bands held out of training: a fifth of the sizes and of the clearances.
        Parameter("size", "1", -1, 1, held_out=((-0.6, -0.4), (0.3, 0.5))),
        Parameter(
            "clearance", "m", 0.08 * MM, 0.25 * MM, "log", 0.15 * MM, held_out=((-0.2, 0.2),)
        ),
        *(Parameter(name, "1", -1, 1) for name in SHAPE),
        Parameter("socket_x", "m", -3 * MM, 3 * MM),
        Parameter("socket_y", "m", -3 * MM, 3 * MM),
        Parameter("socket_z", "m", -0.5 * MM, 0.5 * MM),
        Parameter("socket_yaw", "rad", -0.08, 0.08),
        Parameter("socket_tilt_x", "rad", -0.01, 0.01),
        Parameter("socket_tilt_y", "rad", -0.01, 0.01),
        Parameter("grasp_x", "m", -0.5 * MM, 0.5 * MM),
        Parameter("grasp_y", "m", -0.5 * MM, 0.5 * MM),
        Parameter("grasp_yaw", "rad", -0.03, 0.03),
        Parameter("friction", "1", 0.15, 0.6, "log", 0.3),
        Parameter("retention", "N", 0, 12, nominal=6),
        Parameter("stiffness", "1", 0.7, 1.3, nominal=1),
        Parameter("controller_x", "m", -0.5 * MM, 0.5 * MM),
        Parameter("controller_y", "m", -0.5 * MM, 0.5 * MM),
        Parameter("force_bias_x", "N", -1.5, 1.5),
        Parameter("force_bias_y", "N", -1.5, 1.5),
        Parameter("force_bias_z", "N", -1.5, 1.5),
        Parameter("torque_bias_x", "N·m", -0.03, 0.03),
        Parameter("torque_bias_y", "N·m", -0.03, 0.03),
        Parameter("torque_bias_z", "N·m", -0.03, 0.03),
        Parameter("wrench_delay", "s", 0, 0.02, nominal=0.01),
        # What the arm's links weigh at its tip; a body with links of its own ignores these.
        Parameter("virtual_mass", "kg", 1, 2, "log", 1.4),
        Parameter("virtual_inertia", "kg·m²", 0.003, 0.1, "log", 0.01),
    ),
    {
        "ranges": "chosen: socket found by a camera (±3 mm, ±4.6°), plug grasped by hand, "
        "clearances and plug sizes of mains and NIST parts",
    },
)


def _uniform_std(*names: str) -> float:
    """Standard deviation of the sum of independent, linearly scaled parameters."""
    return math.sqrt(sum((SPACE[n].high - SPACE[n].low) ** 2 / 12 for n in names))


FACTORS = (
    Factor("seat_x", "m", 0.0, _uniform_std("socket_x", "grasp_x"), 0),
    Factor("seat_y", "m", 0.0, _uniform_std("socket_y", "grasp_y"), 1),
    Factor("seat_yaw", "rad", 0.0, _uniform_std("socket_yaw", "grasp_yaw"), 2),
    Factor("face_z", "m", 0.0, _uniform_std("socket_z"), 3),
    Factor("clearance", "log m", math.log(math.sqrt(0.08 * 0.25) * MM), 0.329, 4),
    Factor("friction", "log 1", math.log(math.sqrt(0.15 * 0.6)), 0.400, 5),
    Factor("stiffness", "1", 1.0, _uniform_std("stiffness"), 6),
    Factor("retention", "N", 6.0, _uniform_std("retention"), 7),
)
"""What a grounded latent stands for: where the tool must stand for the plug to meet its socket,
and the contact's properties. Each is standard normal in its first two moments over the space."""

ACTION = (
    ActionField("x", (), "m", -1.5 * MM, 1.5 * MM, 1.5 * MM),
    ActionField("y", (), "m", -1.5 * MM, 1.5 * MM, 1.5 * MM),
    ActionField("z", (), "m", -2 * MM, 2 * MM, 2 * MM),
    ActionField("yaw", (), "rad", -0.02, 0.02, 0.02),
)


def _limits() -> tuple[Limit, ...]:
    """Margins that policies stay clear of by half at least, on the rig and on the arm; but for
    their commands, which may reverse within a period."""
    low = np.round(WORKSPACE_LOW - REFERENCE_CLIP, 6).tolist()
    high = np.round(WORKSPACE_HIGH + REFERENCE_CLIP, 6).tolist()
    reach = "as far as the reference goes in training, and leads"
    slip = "twice as fast as a plug slips home"
    # The longest plug is 25 mm.
    torque = FORCE_LIMIT * 0.025
    # Nothing to most of the force limit within a period.
    jump = 0.6 * FORCE_LIMIT / CONTROL_PERIOD
    reversal = "a full reversal within a period, as training allows it"

    def either(
        quantity: Quantity, field: str, most: float, unit: str, reason: str, *at: int
    ) -> Limit:
        return Limit(quantity, field, -most, most, unit, reason, list(at))

    return (
        either("workspace", "tip_position", high[0], "m", reach, 0, 1),
        Limit("workspace", "tip_position", low[2], high[2], "m", reach, [2]),
        either("position", "tip_rotation", high[3], "rad", reach, 0),
        either("position", "tip_rotation", 0.1, "rad", "ten times a socket's tilt: jammed", 1, 2),
        either("velocity", "tip_velocity", 0.25, "m/s", "reduced speed of ISO 10218-1", 0, 1, 2),
        either("velocity", "tip_velocity", 1.0, "rad/s", slip, 3, 4, 5),
        either("force", "wrench", FORCE_LIMIT, "N", "in training the part breaks", 0, 1, 2),
        either("force", "wrench", torque, "N·m", "that force on a plug's length", 3, 4, 5),
        either("rate", "wrench", jump, "N/s", "an impact, or a sensor that jumps", 0, 1, 2),
        *(
            either("rate", f.name, 2 * f.scale / CONTROL_PERIOD, f"{f.unit}/s", reversal)
            for f in ACTION
        ),
    )


SPEC = WorldSpec(
    name="insertion",
    observation=(
        Field("tip_position", (3,), "m", -0.1, 0.1),
        Field("tip_rotation", (3,), "rad", -0.6, 0.6),
        Field("tip_velocity", (6,), "m/s, rad/s", -20.0, 20.0),
        Field("wrench", (6,), "N, N·m", -1000.0, 1000.0),
        Field("reference_lead", (4,), "m, rad", -0.1, 0.1),
        Field("depth_left", (1,), "m", -0.02, 0.1),
    ),
    action=ACTION,
    factors=FACTORS,
    control_period=CONTROL_PERIOD,
    horizon=HORIZON,
    limits=_limits(),
)


def task_factors(task: Task) -> np.ndarray:
    """The task's factors (n_f,), standardised as `FACTORS` says."""
    seat = seat_pose(task)
    physical = np.array(
        [
            seat.x,
            seat.y,
            seat.yaw,
            seat.z,
            math.log(task["clearance"]),
            math.log(task["friction"]),
            task["stiffness"],
            task["retention"],
        ]
    )
    return (physical - [f.offset for f in FACTORS]) / [f.scale for f in FACTORS]


@dataclass(frozen=True)
class Constants:
    """Per-world constants of the assigned tasks, stacked: (B, …)."""

    factors: np.ndarray
    seat: np.ndarray  # x, y, z, yaw
    depth: np.ndarray
    yaw_matters: np.ndarray
    bias: np.ndarray
    controller: np.ndarray
    delay: np.ndarray

    @staticmethod
    def of(tasks: Sequence[Task]) -> Constants:
        seats = [seat_pose(t) for t in tasks]
        axes = ("x", "y", "z")
        names = [f"{kind}_bias_{a}" for kind in ("force", "torque") for a in axes]
        return Constants(
            factors=np.stack([task_factors(t) for t in tasks]).astype(np.float32),
            seat=np.array([[s.x, s.y, s.z, s.yaw] for s in seats]),
            depth=np.array([task_plug(t).depth for t in tasks]),
            yaw_matters=np.array([t.choice("family") != "peg_round" for t in tasks], float),
            bias=np.array([[t[n] for n in names] for t in tasks]),
            controller=np.array([[t["controller_x"], t["controller_y"]] for t in tasks]),
            delay=np.array([round(t["wrench_delay"] / TIMESTEP) for t in tasks]),
        )


class InsertionWorlds:
    """B robots, each with its own plug, socket and controller. See `sim.core.worlds.Worlds`.

    Args:
        worlds: number of worlds B.
        seed: of the measurement and start noise.
        threads: of the physics.
        body: threads → what carries the plugs; see `sim.insertion.body`.
    """

    spec = SPEC

    def __init__(
        self, worlds: int, seed: int, threads: int = 2, body: Callable[[int], Body] = WristBody
    ) -> None:
        self.worlds = worlds
        self.rng = np.random.default_rng(seed)
        self.sim = body(threads)

    def assign(self, tasks: Sequence[Task]) -> None:
        if len(tasks) != self.worlds:
            raise ValueError(f"{self.worlds} worlds need as many tasks, got {len(tasks)}")
        self.tasks = list(tasks)
        self._scenes: dict[int, Scene] = {}
        self.sim.assign(tasks)
        self.constants = Constants.of(tasks)
        b = self.worlds
        self.reference = np.zeros((b, 6))
        self.elapsed = np.zeros(b, int)
        self._seated = np.zeros(b, int)
        self._wrench = np.zeros((b, 6))
        self.peak_force = np.zeros(b)

    def factors(self) -> np.ndarray:
        return self.constants.factors

    @property
    def depth(self) -> np.ndarray:
        """True depth (B,) of the plug's end below the socket's face [m]."""
        return self.constants.seat[:, 2] - self.sim.qpos[:, 2]

    def reset(self, which: np.ndarray) -> np.ndarray:
        n = int(which.sum())
        if n:
            start = np.zeros((n, 6))
            start[:, :2] = self.rng.uniform(-START_NOISE, START_NOISE, (n, 2))
            start[:, 2] = START_HEIGHT + self.rng.uniform(-START_NOISE, START_NOISE, n)
            self.sim.place(which, start)
            self.reference[which] = start
            self.elapsed[which] = 0
            self._seated[which] = 0
            self.peak_force[which] = 0.0
            self._wrench[which] = self.constants.bias[which]
        return self._observe()

    def step(self, action: np.ndarray) -> Step:
        action = check_action(action, self.worlds, SPEC)
        self._move_reference(action)
        control = self.reference.copy()
        control[:, :2] += self.constants.controller
        motion = self.sim.step(control, SUBSTEPS)
        force = self._sense(motion.wrench)
        force[motion.diverged] = 0.0
        self.peak_force = np.maximum(self.peak_force, force)
        self.elapsed += 1

        depth, full = self.depth, self.constants.depth
        seated = depth >= np.minimum(full - SEATED_WITHIN, SEATED_FRACTION * full)
        self._seated = np.where(seated, self._seated + 1, 0)
        broken = force > FORCE_LIMIT
        success = (self._seated >= SEATED_PERIODS) & ~broken & ~motion.diverged
        terminal = success | broken
        fraction = np.clip(depth / full, 0.0, 1.0)
        return Step(
            observation=self._observe(),
            reward=self._reward(action, fraction, force, success, broken).astype(np.float32),
            measured_reward=(0.5 * fraction + success).astype(np.float32),
            discount=1.0 - terminal.astype(np.float32),
            truncated=(self.elapsed >= HORIZON) & ~terminal,
            success=success,
            diverged=motion.diverged,
        )

    def scene(self, world: int) -> Scene:
        if world not in self._scenes:
            self._scenes[world] = scene(self.sim.model(world), self.sim.overview)
        return self._scenes[world]

    def configuration(self, world: int) -> np.ndarray:
        return self.sim.configuration(world)

    def close(self) -> None:
        self.sim.close()

    def _move_reference(self, action: np.ndarray) -> None:
        measured = self.sim.qpos[:, :4]
        reference = self.reference[:, :4] + action * ACTION_SCALE
        reference = np.clip(reference, measured - REFERENCE_CLIP, measured + REFERENCE_CLIP)
        self.reference[:, :4] = np.clip(reference, WORKSPACE_LOW, WORKSPACE_HIGH)

    def _sense(self, wrench: np.ndarray) -> np.ndarray:
        """Update the measured wrench; return each world's peak contact force (B,) [N].

        The wrench (B, n, 6) is averaged over half a control period that ended `delay` ago.
        """
        half = SUBSTEPS // 2
        window = np.arange(SUBSTEPS - half, SUBSTEPS)[None] - self.constants.delay[:, None]
        mean = np.take_along_axis(wrench, window[:, :, None], axis=1).mean(axis=1)
        noise = self.rng.normal(size=(self.worlds, 6))
        noise *= [FORCE_NOISE] * 3 + [TORQUE_NOISE] * 3
        self._wrench = np.nan_to_num(mean) + self.constants.bias + noise
        return np.nan_to_num(np.linalg.norm(wrench[:, :, :3], axis=2).max(axis=1))

    def _observe(self) -> np.ndarray:
        q, v = self.sim.qpos, self.sim.qvel
        position = q[:, :3] + self.rng.normal(0.0, POSE_NOISE, (self.worlds, 3))
        lead = self.reference[:, :4] - q[:, :4]
        left = position[:, 2:3] + self.constants.depth[:, None]
        return np.concatenate([position, q[:, 3:6], v, self._wrench, lead, left], axis=1).astype(
            np.float32
        )

    def _reward(
        self,
        action: np.ndarray,
        fraction: np.ndarray,
        force: np.ndarray,
        success: np.ndarray,
        broken: np.ndarray,
    ) -> np.ndarray:
        """Dense reward (B,): distance across and about the axis, depth, force, success."""
        q, seat = self.sim.qpos, self.constants.seat
        across = np.linalg.norm(q[:, :2] - seat[:, :2], axis=1)
        yaw = np.abs(q[:, 3] - seat[:, 3]) * self.constants.yaw_matters
        height = np.clip((q[:, 2] - seat[:, 2]) / (5 * MM), 0.0, 2.0)
        reward = -0.25 * np.minimum(across / (3 * MM), 1.5) - 0.25 * np.tanh(across / (0.5 * MM))
        reward -= 0.15 * np.minimum(yaw / 0.1, 1.5) + 0.1 * np.tanh(yaw / 0.03)
        reward -= 0.1 * height
        # Never positive before success: a plug held almost home must not be worth more than one
        # that is home, or a learner stops short and collects.
        reward -= 0.5 * (1.0 - fraction)
        reward -= 0.01 * (action**2).sum(axis=1)
        reward -= 0.01 * np.maximum(force - FORCE_COMFORT, 0.0)
        return reward + SUCCESS_REWARD * success - BREAKING_COST * broken
