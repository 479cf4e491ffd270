"""Every task family as a Gymnasium environment, one world or many.

Importing this module registers `acclimate/Insertion-v0` and its like, one for each installed
family, so `gymnasium.make("sim.gym:acclimate/Insertion-v0")` finds it. Observations are in physical
units, actions in [−1, 1]. With `render_mode="rgb_array"`, `render` draws the worlds.

An episode's task comes from reset's options, or is drawn from a split of the task space:

    env.reset(seed=0)                                     # a task drawn from the env's own split
    env.reset(options={"split": "held_out"})              # one drawn from another split
    env.reset(options={"task": {"family": "peg_round"}})  # the nominal task, with changes
    env.reset(options={"task": env.unwrapped.task})       # another episode on the same task

`info` holds what a robot cannot know, for critics and evaluation:
    success: the episode has succeeded.
    diverged: the physics failed; the step has no reward, ends the episode as truncated, and must
        not be learned from.
    measured_reward: what a robot can measure of its success.
    factors: (n_f,) the task's privileged quantities, standardised, as `WorldSpec.factors` says.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from adapt.errors import AcclimateError
from sim.core.parameter import Split, check_split
from sim.core.registry import family as find
from sim.core.registry import family_names
from sim.core.reset_options import tasks_for_reset
from sim.core.task_space import Task
from sim.core.worlds import Step, Worlds, WorldSpec
from sim.render.canvas import Pictures

Float32 = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Info = dict[str, Any]
Picture = npt.NDArray[np.uint8]


def env_id(name: str) -> str:
    """The Gymnasium id of a family: "acclimate/CheetahVel-v0" for "cheetah-vel"."""
    return f"acclimate/{''.join(word.capitalize() for word in re.split('[-_]', name))}-v0"


def observation_space(spec: WorldSpec) -> spaces.Box:
    """Box (n_o,) of the observation fields' bounds, each in its field's unit."""
    size = [int(np.prod(f.shape)) for f in spec.observation]
    low = np.repeat([f.low for f in spec.observation], size).astype(np.float32)
    high = np.repeat([f.high for f in spec.observation], size).astype(np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def action_space(spec: WorldSpec) -> spaces.Box:
    """Box (n_a,) of normalised actions."""
    return spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)


class FamilyVectorEnv(VectorEnv[Float32, Float32, npt.NDArray[Any]]):
    """B worlds of a family in one batch, each on a task of its own.

    A world whose episode ends is reset within the same step (`AutoresetMode.SAME_STEP`): the step
    returns the new episode's first observation, and info holds the old episode's last one as
    `final_obs`, with `final_info`. The next episode is on the same task, so that adaptation over
    several episodes is possible; `reset` gives every world a new task.

    Args:
        family: its name, or `package.module:NAME`.
        num_envs: worlds B.
        split: side of the task space that tasks are drawn from.
        threads: of the physics.
        render_mode: None, or "rgb_array" for pictures.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        family: str,
        num_envs: int,
        split: Split = "train",
        threads: int = 2,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise AcclimateError(f"num_envs must be at least 1, got {num_envs}")
        if render_mode not in (None, "rgb_array"):
            raise AcclimateError(f"no render_mode {render_mode!r}; expected None or 'rgb_array'")
        found = find(family)
        self._space = found.space
        self._split: Split = check_split(split)
        self.num_envs = num_envs
        self.single_observation_space = observation_space(found.spec)
        self.single_action_space = action_space(found.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.worlds = found.make(num_envs, 0, threads)
        self.tasks: list[Task] = []
        self.metadata = self.metadata | {"render_fps": round(1 / found.spec.control_period)}
        self.render_mode = render_mode
        self._pictures = Pictures(family, self.worlds) if render_mode else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, Info]:
        """Begin an episode in every world; observation (B, n_o).

        Options: `split`, and `task`, one for all worlds or a sequence of B; see the module.
        """
        if seed is not None:
            self._np_random, self._np_random_seed = seeding.np_random(seed)
        self.tasks = tasks_for_reset(
            options, self._space, self.num_envs, self._split, self.np_random
        )
        # The worlds' noise follows from this environment's generator, reset by reset.
        self.worlds.rng = np.random.default_rng(int(self.np_random.integers(2**63)))
        self.worlds.assign(self.tasks)
        observation = self.worlds.reset(np.ones(self.num_envs, bool))
        return observation, {
            "success": np.zeros(self.num_envs, bool),
            "diverged": np.zeros(self.num_envs, bool),
            "measured_reward": np.zeros(self.num_envs, np.float32),
            "factors": self.worlds.factors().copy(),
        }

    def step(self, actions: Float32) -> tuple[Float32, Float32, Flags, Flags, Info]:
        """One control period under actions (B, n_a) in [−1, 1]; arrays (B, …)."""
        step = self.advance(actions)
        observation, info = step.observation, step_info(step, self.worlds)
        done = step.done
        if done.any():
            final = np.full(self.num_envs, None, object)
            for world in np.flatnonzero(done):
                final[world] = step.observation[world].copy()
            ended = {key: _only(done, value) for key, value in info.items()}
            ended |= {f"_{key}": done.copy() for key in info}
            # The old episode's values are in final_info; the new episode starts without any.
            for key in ("success", "diverged", "measured_reward"):
                info[key] = _only(~done, info[key])
            info |= {"final_obs": final, "_final_obs": done.copy()}
            info |= {"final_info": ended, "_final_info": done.copy()}
            observation = np.where(done[:, None], self.worlds.reset(done), observation)
        return observation, step_reward(step), terminated(step), truncated(step), info

    def advance(self, actions: Float32) -> Step:
        """The worlds' own step, which resets nothing."""
        if not self.tasks:
            raise gymnasium.error.ResetNeeded("reset the environment before its first step")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise AcclimateError(
                f"actions have shape {actions.shape}, expected {self.action_space.shape}"
            )
        return self.worlds.step(actions)

    def render(self) -> tuple[Picture, ...] | None:
        """A picture (height, width, 3) of every world; None without a render_mode."""
        if self._pictures is None:
            return None
        if not self.tasks:
            raise gymnasium.error.ResetNeeded("reset the environment before it is drawn")
        return tuple(self._pictures.draw(world) for world in range(self.num_envs))

    def close_extras(self) -> None:
        if self._pictures is not None:
            self._pictures.close()
        self.worlds.close()


class FamilyEnv(gymnasium.Env[Float32, Float32]):
    """One world of a family. Every reset meets a new task unless its options say otherwise.

    Args:
        family: its name, or `package.module:NAME`.
        split: side of the task space that tasks are drawn from.
        threads: of the physics.
        render_mode: None, or "rgb_array" for pictures.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self, family: str, split: Split = "train", threads: int = 1, render_mode: str | None = None
    ) -> None:
        self._batch = FamilyVectorEnv(family, 1, split, threads, render_mode)
        self.metadata = self.metadata | {"render_fps": self._batch.metadata["render_fps"]}
        self.render_mode = render_mode
        self.observation_space = self._batch.single_observation_space
        self.action_space = self._batch.single_action_space

    @property
    def task(self) -> Task:
        """The task of the episode under way."""
        return self._batch.tasks[0]

    @property
    def worlds(self) -> Worlds:
        """The batch of one world, for scripts that read the simulation itself."""
        return self._batch.worlds

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, Info]:
        """Begin an episode; observation (n_o,). Options: `task`, `split`; see the module."""
        super().reset(seed=seed)
        # One generator for both: seeding or replacing this one determines every draw.
        self._batch.np_random = self.np_random
        observation, info = self._batch.reset(options=options)
        return observation[0], _single(info)

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool, Info]:
        """One control period under action (n_a,) in [−1, 1]."""
        step = self._batch.advance(np.asarray(action)[None])
        info = _single(step_info(step, self.worlds))
        ends = bool(terminated(step)[0]), bool(truncated(step)[0])
        return step.observation[0], float(step_reward(step)[0]), *ends, info

    def render(self) -> Picture | None:
        """A picture (height, width, 3); None without a render_mode."""
        pictures = self._batch.render()
        return pictures[0] if pictures else None

    def close(self) -> None:
        self._batch.close()


def terminated(step: Step) -> Flags:
    """(B,) the episode reached a terminal state."""
    return (step.discount == 0) & ~step.diverged


def truncated(step: Step) -> Flags:
    """(B,) the episode was cut off: out of time, or by physics that failed."""
    return (step.truncated & (step.discount != 0)) | step.diverged


def step_reward(step: Step) -> Float32:
    """Rewards (B,), none where the physics failed."""
    return np.where(step.diverged, 0.0, step.reward).astype(np.float32)


def step_info(step: Step, worlds: Worlds) -> Info:
    """See the module; arrays (B, …) of their own."""
    return {
        "success": step.success.copy(),
        "diverged": step.diverged.copy(),
        "measured_reward": step.measured_reward.copy(),
        "factors": worlds.factors().copy(),
    }


def _single(info: Info) -> Info:
    """The info of the only world: plain values and vectors."""
    return {k: v[0].copy() if v.ndim > 1 else v[0].item() for k, v in info.items()}


def _only(which: Flags, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """value (B, …) where which (B,) is True, zero elsewhere, in the same dtype."""
    mask = which.reshape(-1, *[1] * (value.ndim - 1))
    return np.where(mask, value, np.zeros_like(value))


def register() -> None:
    """Enter every family into Gymnasium's registry, once."""
    for name in family_names():
        if env_id(name) not in gymnasium.registry:
            gymnasium.register(
                env_id(name),
                entry_point="sim.gym:FamilyEnv",
                vector_entry_point="sim.gym:FamilyVectorEnv",
                kwargs={"family": name},
            )


register()
