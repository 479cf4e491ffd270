"""`acclimate twin`: a simulated robot that is an ordinary client of the bridge.

It measures, is rewarded and succeeds exactly as the worlds that policies are trained in, and tells
the bridge its task's hidden factors, for reports alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from adapt.errors import AcclimateError
from adapt.settings import compose
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol.messages import Command, Mode, Outcome, ResetRequest
from robot_bridge.system.clock import Rate
from robot_bridge.system.signals import Interrupt
from sim.core.task_space import Split, Task
from sim.core.worlds import Step
from sim.insertion.arm import ArmBody
from sim.insertion.body import Body, WristBody
from sim.insertion.worlds import FACTORS, SPACE, SPEC, InsertionWorlds
from sim.twin.takes import BodyName, Take

HELP = """acclimate twin [endpoint=...] [body=arm|wrist] [realtime=true|false]

Connects a simulated robot to a bridge and performs whatever episodes its operators ask for, until
Ctrl-C or until the bridge closes."""

BODIES: dict[BodyName, Callable[[int], Body]] = {"arm": ArmBody, "wrist": WristBody}
SCALE = np.repeat([f.scale for f in SPEC.action], [f.size for f in SPEC.action])
ALL = np.ones(1, bool)
GLANCE = 0.2
"""Between looks for Ctrl-C while nobody asks for an episode [s]."""


@dataclass(frozen=True)
class TwinSettings:
    """endpoint: of the bridge. keys: for tcp, a folder or a certificate. name: the robot's. body:
    what it is. realtime: by the clock, or as fast as it can. groups: the tasks, in this order:
    split → how many. takes: folder for every episode's motion, "" for none. wait: for the bridge to
    appear [s]."""

    endpoint: str
    keys: Path | None = None
    name: str = "twin"
    body: BodyName = "arm"
    realtime: bool = False
    groups: dict[Split, Annotated[int, Meta(ge=0)]] | None = None
    takes: str = ""
    wait: Annotated[float, Meta(gt=0)] = 10.0


def draw_tasks(groups: Mapping[Split, int], seed: int) -> list[Task]:
    """The tasks that a seed stands for, group after group."""
    tasks: list[Task] = []
    for number, (split, count) in enumerate(groups.items()):
        tasks += SPACE.sample(count, np.random.default_rng([seed, number]), split)
    return tasks


def truth(worlds: InsertionWorlds) -> dict[str, float]:
    """The task's factors in physical units, by name."""
    standard = worlds.factors()[0]
    return {f.name: float(standard[f.index] * f.scale + f.offset) for f in FACTORS}


class Twin:
    """One simulated robot and its tasks.

    groups: split → how many tasks. body: what carries the plug.
    """

    def __init__(self, body: BodyName, groups: Mapping[Split, int]) -> None:
        self.body: BodyName = body
        self._groups = groups
        self._tasks: dict[int, list[Task]] = {}
        self.worlds = InsertionWorlds(1, 0, threads=1, body=BODIES[body])
        self._task: Task | None = None
        self._frames: list[np.ndarray] = []
        self._forces: list[float] = []

    def reset(self, request: ResetRequest) -> np.ndarray:
        """Bring the robot to the start of an episode; observation (n_o,).

        Raises AcclimateError for a task that this twin does not have.
        """
        if request.seed not in self._tasks:
            self._tasks[request.seed] = draw_tasks(self._groups, request.seed)
        tasks = self._tasks[request.seed]
        if request.task >= len(tasks):
            have = ", ".join(f"{split} {count}" for split, count in self._groups.items())
            raise AcclimateError(
                f"task {request.task} was asked for; this twin has 0 to {len(tasks) - 1} ({have}), "
                "see its setting groups"
            )
        task = tasks[request.task]
        if task is not self._task:
            self.worlds.assign([task])
            self._task = task
        # The noise of an episode is its own, whatever ran before it.
        self.worlds.rng = np.random.default_rng([request.seed, request.task, request.episode])
        observation = self.worlds.reset(ALL)[0]
        self._frames, self._forces = [self.worlds.sim.configuration(0)], [0.0]
        return observation

    def follow(self, command: Command) -> Step:
        """One control period under a command."""
        worlds = self.worlds
        action = np.zeros(SPEC.action_size)
        if command.mode is Mode.TRACK:
            action = command.payload / SCALE
        elif command.mode is not Mode.HOLD:
            # Where the reference is the measured pose, springs pull nowhere and dampers remain.
            worlds.reference[:] = worlds.sim.qpos
        step = worlds.step(action[None])
        self._frames.append(worlds.sim.configuration(0))
        self._forces.append(float(np.linalg.norm(step.observation[0, FORCE])))
        return step

    def take(self, success: bool) -> Take:
        """The motion since the last reset."""
        assigned = self.worlds.tasks[0].values
        joints, force = np.array(self._frames), np.array(self._forces)
        return Take(self.body, assigned, SPEC.control_period, joints, force, success)


def _force_slice() -> slice:
    sizes = {f.name: f.size for f in SPEC.observation}
    start = sum(list(sizes.values())[: list(sizes).index("wrench")])
    return slice(start, start + 3)


FORCE = _force_slice()


def perform(
    client: RobotClient,
    twin: Twin,
    request: ResetRequest,
    rate: Rate | None,
    halted: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """One episode, from its reset request to its outcome; None when halted() cut it off.

    rate: of the clock, None for none.
    """
    observation = twin.reset(request)
    client.ready(truth(twin.worlds))
    if rate is not None:
        rate.restart()
    command = client.exchange(observation, first=True)
    steps, reason, success = 0, "", False
    while not reason:
        if command.mode is Mode.STOP:
            reason = f"stopped: {client.state.reason}"
            break
        if halted():
            return None
        step = twin.follow(command)
        steps += 1
        success = bool(step.success[0])
        reason = _ending(step)
        if rate is not None:
            rate.wait()
        command = client.exchange(
            step.observation[0],
            float(step.measured_reward[0]),
            last=bool(reason),
            terminal=bool(step.discount[0] == 0),
        )
    measures = {
        "peak_force": float(twin.worlds.peak_force[0]),
        "depth": float(twin.worlds.depth[0]),
    }
    return Outcome(success, steps, steps * SPEC.control_period, reason, measures)


def _ending(step: Step) -> str:
    """Why the episode ended with this step; "" when it did not."""
    if step.success[0]:
        return "seated"
    if step.diverged[0]:
        return "the simulation failed"
    if step.discount[0] == 0:
        return "force limit"
    return "time is up" if step.truncated[0] else ""


def serve(client: RobotClient, settings: TwinSettings, halted: Callable[[], bool]) -> None:
    """Perform episodes until halted() is true. Raises BridgeLost when the bridge closes."""
    twin = Twin(settings.body, settings.groups or {})
    rate = Rate(SPEC.control_period) if settings.realtime else None
    while not halted():
        request = client.wait_reset(GLANCE)
        if request is None:
            continue
        try:
            outcome = perform(client, twin, request, rate, halted)
        except AcclimateError as error:
            client.halt(str(error)[:1000])
            raise
        if outcome is None:
            break
        if settings.takes:
            twin.take(outcome.success).save(Path(settings.takes), request.task, request.episode)
        client.end_episode(outcome)
    twin.worlds.close()


def main(argv: list[str]) -> int:
    """`acclimate twin`; returns 130 after Ctrl-C, else 0."""
    settings = compose("sim/twin", TwinSettings, argv, HELP)
    if not sum((settings.groups or {}).values()):
        raise AcclimateError("the twin has no tasks; say groups.held_out=20, for example")
    client = RobotClient(
        settings.endpoint,
        settings.name,
        SPEC.observation,
        SPEC.action,
        SPEC.control_period,
        simulated_time=not settings.realtime,
        keys=settings.keys,
    )
    # From here on a signal is a request: the bridge hears a goodbye.
    interrupt = Interrupt()
    try:
        client.connect(settings.wait)
        print(f"twin: {settings.body} at {settings.endpoint}", file=sys.stderr, flush=True)
        serve(client, settings, lambda: bool(interrupt))
    finally:
        client.close()
    return interrupt.exit_code
