"""A simulated robot of any family, as an ordinary client of the bridge.

It measures, is rewarded and succeeds as the worlds that policies are trained in, and tells the
bridge its task's hidden factors, for reports alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adapt.errors import AcclimateError
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol.messages import Command, Mode, Outcome, ResetRequest
from robot_bridge.protocol.probe_messages import ProbeTarget
from robot_bridge.system.clock import Rate
from sim.core.parameter import Split
from sim.core.registry import family
from sim.core.scene import Drawable, drawable
from sim.core.schedule import Schedule, changeable
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Step, Worlds, WorldSpec
from sim.render.takes import Take

ALL = np.ones(1, bool)
TASKS = 20
"""Of each group, where none are asked for."""


def default_groups(space: TaskSpace) -> dict[Split, int]:
    """Tasks that training never meets; training's own where it meets every task."""
    splits: tuple[Split, ...] = ("held_out", "unseen_choice")
    return {s: TASKS for s in splits if space.holds_out(s)} or {"train": TASKS}


def draw_tasks(space: TaskSpace, groups: Mapping[Split, int], seed: int) -> list[Task]:
    """The tasks that a seed stands for, group after group."""
    tasks: list[Task] = []
    for number, (split, count) in enumerate(groups.items()):
        if count:
            tasks += space.sample(count, np.random.default_rng([seed, number]), split)
    return tasks


def truth(worlds: Worlds) -> dict[str, float]:
    """The task's factors in physical units, by name."""
    return physical(worlds.spec, worlds.factors()[0])


def physical(spec: WorldSpec, standard: np.ndarray) -> dict[str, float]:
    """Standardised factors (n_f,) in physical units, by name."""
    return {f.name: float(standard[f.index] * f.scale + f.offset) for f in spec.factors}


class Twin:
    """One simulated robot and its tasks.

    name: of the family, as `sim.core.registry.family` takes it. body: one of the family's, "" for
    its first. groups: split → how many tasks; None for `default_groups`. schedule: what changes
    within each episode. Raises AcclimateError for what the family does not have.
    """

    def __init__(
        self,
        name: str,
        body: str,
        groups: Mapping[Split, int] | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.name, self.family = name, family(name)
        self.body = body or next(iter(self.family.bodies))
        self.worlds = self.family.one_world(self.body)
        action = self.family.spec.action
        sizes = [f.size for f in action]
        self._scale = np.repeat([f.scale for f in action], sizes)
        self._offset = np.repeat([f.offset for f in action], sizes)
        self._groups = groups or default_groups(self.family.space)
        # Drawn here as well, so that a group without tasks is found before an episode.
        self._tasks: dict[int, list[Task]] = {0: draw_tasks(self.family.space, self._groups, 0)}
        self._schedule = schedule or Schedule()
        if self._schedule.changes:
            changeable(name, self.worlds)
        self._schedule.tasks(self._tasks[0][0])  # as above
        self._task: Task | None = None
        self._due: list[tuple[int, Task]] = []  # changes to come: control period, task
        self._period = 0  # of the episode
        self._joints: list[np.ndarray] = []
        self._gauge: list[float] = []
        self.total = 0.0  # measured reward of the episode so far

    def reset(self, request: ResetRequest) -> np.ndarray:
        """Bring the robot to the start of an episode; observation (n_o,).

        Raises AcclimateError for a task that this twin does not have.
        """
        if request.seed not in self._tasks:
            self._tasks[request.seed] = draw_tasks(self.family.space, self._groups, request.seed)
        tasks = self._tasks[request.seed]
        if request.task >= len(tasks):
            have = ", ".join(f"{split} {count}" for split, count in self._groups.items())
            raise AcclimateError(
                f"task {request.task} was asked for; this twin has 0 to {len(tasks) - 1} ({have}), "
                "see its setting groups"
            )
        period = self.family.spec.control_period
        (_, task), *changes = self._schedule.tasks(tasks[request.task])
        self._due = [(round(at / period), changed) for at, changed in changes]
        if changes or self._task is None or not np.array_equal(task.values, self._task.values):
            self.worlds.assign([task])
            self._task = task
        # An episode's noise depends on nothing that ran before it.
        probes = bool(request.limits)
        entropy = [request.seed, request.task, request.episode, *([1] if probes else [])]
        self.worlds.rng = np.random.default_rng(entropy)
        if self.family.embodiment.probing is not None:
            self.family.embodiment.probing.allow(self.worlds, probes)
        observation = self.worlds.reset(ALL)[0]
        self._joints, self._gauge, self.total, self._period = [], [], 0.0, 0
        self._note(None)
        return observation

    def target(self) -> ProbeTarget | None:
        """What a probing robot is told of the task; None for a family that has nothing to touch."""
        probing = self.family.embodiment.probing
        return probing.target(self.worlds) if probing is not None else None

    def follow(self, command: Command) -> Step:
        """One control period under a command, behind the changes that are due."""
        while self._due and self._due[0][0] <= self._period:
            changeable(self.name, self.worlds).change(ALL, [self._due.pop(0)[1]])
        self._period += 1
        action = np.zeros(len(self._scale))
        if command.mode is Mode.TRACK:
            action = (command.payload - self._offset) / self._scale
        elif command.mode is Mode.HOLD:
            self.family.embodiment.hold(self.worlds)
        else:
            self.family.embodiment.relax(self.worlds)
        step = self.worlds.step(action[None])
        self.total += float(step.measured_reward[0])
        self._note(step)
        return step

    def truth(self) -> dict[str, float]:
        """The factors that stay what they are for the whole episode, in physical units, by name."""
        now, factors = self.worlds.factors()[0], self.family.factors
        first = factors(self._assigned)
        changes = [~np.isclose(factors(task), first) for _, task in self._due]
        changed = np.any(changes, axis=0) if changes else np.zeros(len(first), bool)
        told = physical(self.family.spec, now)
        return {f.name: told[f.name] for f in self.family.spec.factors if not changed[f.index]}

    def rest(self) -> None:
        """Come to rest under damping, after a stop or a failure: a body in mid-stride moves on."""
        for _ in range(self.family.embodiment.rest):
            self.family.embodiment.relax(self.worlds)
            step = self.worlds.step(np.zeros((1, len(self._scale))))
            self._note(step)
            if step.diverged[0]:
                return

    def outcome(self, step: Step | None, steps: int, reason: str) -> Outcome:
        """How the episode ended after so many steps, the last of them given."""
        measures = {
            name: float(measure.of(self.worlds, step))
            for name, measure in self.family.embodiment.measures.items()
        }
        success = step is not None and bool(step.success[0])
        duration = steps * self.family.spec.control_period
        judged_by = "return" if self.family.judged_by == "return" else ""
        measures["return"] = self.total
        return Outcome(success, steps, duration, reason, measures, judged_by)

    def take(self, success: bool) -> Take:
        """The motion since the last reset. Raises AcclimateError if nothing can draw it."""
        drawable(self.name, self.worlds)
        assigned = self._assigned
        period = self.family.spec.control_period
        joints, gauge = np.array(self._joints), np.array(self._gauge)
        return Take(self.name, self.body, assigned.values, period, joints, gauge, success)

    @property
    def _assigned(self) -> Task:
        """The task with which the episode began."""
        if self._task is None:
            raise RuntimeError("reset the twin first")
        return self._task

    def _note(self, step: Step | None) -> None:
        if isinstance(self.worlds, Drawable):
            self._joints.append(self.worlds.configuration(0))
        self._gauge.append(float(self.family.embodiment.gauge[1].of(self.worlds, step)))


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
    client.ready(twin.truth(), twin.target() if request.limits else None)
    if rate is not None:
        rate.restart()
    command = client.exchange(observation, first=True)
    step, steps, reason = None, 0, ""
    while not reason:
        if command.mode is Mode.STOP:
            reason = f"stopped: {client.state.reason}"
            outcome = twin.outcome(step, steps, reason)
            twin.rest()
            return outcome
        if halted():
            return None
        step = twin.follow(command)
        steps += 1
        reason = twin.family.embodiment.ending(step) or ("probed" if command.over else "")
        if rate is not None:
            rate.wait()
        command = client.exchange(
            step.observation[0],
            float(step.measured_reward[0]),
            last=bool(reason),
            terminal=bool(step.discount[0] == 0),
        )
    outcome = twin.outcome(step, steps, reason)
    if reason == twin.family.embodiment.failed:
        twin.rest()
    return outcome
