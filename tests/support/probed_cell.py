"""A simulated plug over a plate, touched without a bridge or through one without sockets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robot_bridge.probing.limits import Layout, ProbeSettings
from robot_bridge.probing.motion import Prober
from robot_bridge.protocol.probe_messages import Blocks, ProbeReport, ProbeTarget
from sim.core.parameter import Split
from sim.core.task_space import Task
from sim.insertion.body import Body, WristBody
from sim.insertion.probe import allow_probing, probe_target
from sim.insertion.space import SPACE
from sim.insertion.spec import SPEC
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import seat_pose
from sim.twin.twin import draw_tasks

SETTINGS = ProbeSettings(reach=0.08)
SCALE = np.array([field.scale for field in SPEC.action])
MOST = 3000
WRENCH = SPEC.columns("wrench")


def task(number: int = 0, group: Split = "unseen_choice", seed: int = 3) -> Task:
    return draw_tasks(SPACE, {group: number + 1}, seed)[number]


def truth(task: Task) -> np.ndarray:
    """As `robot_bridge.probing.pose.TOLD` (6,)."""
    seat = seat_pose(task)
    return np.array(
        [seat.x, seat.y, seat.yaw, seat.z, task["socket_tilt_x"], task["socket_tilt_y"]]
    )


class Cell:
    """One wrist rig, or an arm. spoil(period, observation, cell): the observation (n_o,) as the
    sensors give it."""

    def __init__(
        self,
        task: Task,
        spoil: Callable[[int, np.ndarray, Cell], np.ndarray] | None = None,
        body: Callable[[int], Body] = WristBody,
    ) -> None:
        self.worlds = InsertionWorlds(1, 0, 1, body)
        self.worlds.assign([task])
        allow_probing(self.worlds, True)
        self.target: ProbeTarget = probe_target(self.worlds)
        self._spoil = spoil
        self.period = 0

    def reset(self) -> np.ndarray:
        return self._seen(self.worlds.reset(np.ones(1, bool))[0])

    def follow(self, command: np.ndarray) -> np.ndarray:
        return self._seen(self.worlds.step((command / SCALE)[None]).observation[0])

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        self.period += 1
        return observation if self._spoil is None else self._spoil(self.period, observation, self)


def touched(
    cell: Cell, target: ProbeTarget | None = None, blocks: Blocks = ("socket",)
) -> ProbeReport:
    """Probe the cell as a bridge would; the report."""
    layout = Layout(SPEC.observation, SPEC.action)
    prober = Prober(layout, SETTINGS, target or cell.target, blocks, SPEC.control_period)
    observation = cell.reset()
    while not prober.over:
        observation = cell.follow(prober.step(observation))
        assert cell.period < MOST
    cell.worlds.close()
    return prober.report
