"""The reference PEARL (katerakelly/oyster), run as it is from a checkout outside this repository.

Its networks, gradient step, replay and sampling are its own, built by its own launcher from its own
configuration. It was written for libraries that install no more; instead of them it finds

- `gym`: Gymnasium's spaces and base class, and a half-cheetah over today's MuJoCo bindings, with
  what the checkout's environment asks of the old one;
- `mujoco_py`, `gtimer`, `joblib`, `rand_param_envs`: modules whose names do nothing. What is
  measured calls none of them, but for gtimer's stamps.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

from adapt.errors import AcclimateError

SOURCE = "https://github.com/katerakelly/oyster"
REVISION = "44e20fddf181d8ca3852bdf9b6927d6b8c6f48fc"
FAMILY = "cheetah-vel"
OBSERVED = 20
HOLLOW = (
    "mujoco_py",
    "gtimer",
    "joblib",
    "rand_param_envs",
    "rand_param_envs.hopper_rand_params",
    "rand_param_envs.walker2d_rand_params",
)


class _Hollow(ModuleType):
    """A module in which every name is a class that takes any arguments and has no effect."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (), {"__init__": lambda self, *args, **options: None})
        setattr(self, name, found)
        return found


class _HalfCheetah(MujocoEnv):
    """Gymnasium's half-cheetah with the old Gym's names and return values."""

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]
    }

    def __init__(self) -> None:
        space = spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float32)
        super().__init__("half_cheetah.xml", 5, space)
        self.sim = SimpleNamespace(data=self.data)

    def reset(self) -> Any:
        mujoco.mj_resetData(self.model, self.data)
        position = self.init_qpos + self.np_random.uniform(-0.1, 0.1, self.model.nq)
        self.set_state(position, self.init_qvel + 0.1 * self.np_random.normal(size=self.model.nv))
        return self._get_obs()

    def _get_obs(self) -> np.ndarray:
        raise NotImplementedError("the checkout's environment says what is observed")


def _stand_ins() -> dict[str, ModuleType]:
    old = {name: ModuleType(name) for name in ("gym", "gym.envs", "gym.spaces")}
    old |= {name: _Hollow(name) for name in ("gym.envs.mujoco", "gym.envs.mujoco.mujoco_env")}
    vars(old["gym"]).update(Env=gymnasium.Env, spaces=old["gym.spaces"], envs=old["gym.envs"])
    vars(old["gym.spaces"]).update(vars(spaces))
    vars(old["gym.envs.mujoco"]).update(
        HalfCheetahEnv=_HalfCheetah, mujoco_env=old["gym.envs.mujoco.mujoco_env"]
    )
    return old | {name: _Hollow(name) for name in HOLLOW}


@contextmanager
def _importing(checkout: Path) -> Iterator[None]:
    """Put the checkout first on the path, with stand-ins for its imports; undone afterwards."""
    # Its folder of that name is no package, and ours, which is one, would come before it.
    configs = ModuleType("configs")
    configs.__path__ = [str(checkout / "configs")]
    stand_ins = {"configs": configs, **_stand_ins()}
    before = {n: m for n, m in sys.modules.items() if _root(n) in map(_root, stand_ins)}

    def hide() -> None:
        for name in [n for n in sys.modules if _root(n) in map(_root, stand_ins)]:
            del sys.modules[name]

    hide()
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        hide()
        sys.modules.update(before)


def _root(name: str) -> str:
    return name.split(".")[0]


def published(checkout: Path) -> dict[str, Any]:
    """Its configuration for FAMILY: its defaults, changed by the family's file.

    Raises AcclimateError where there is no such checkout.
    """
    defaults, changed = checkout / "configs" / "default.py", checkout / "configs" / f"{FAMILY}.json"
    for file in (defaults, changed, checkout / "launch_experiment.py"):
        if not file.is_file():
            raise AcclimateError(f"{file}: not found; expected a checkout of {SOURCE}")
    config = runpy.run_path(str(defaults))["default_config"]
    return _merged(config, json.loads(changed.read_text()))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    nested = {k: _merged(base[k], v) for k, v in over.items() if isinstance(v, dict)}
    return base | over | nested


class Reference:
    """Its algorithm object, as its launcher makes it.

    `rows` are those of one gradient step.

    Args:
        checkout: of SOURCE.
        fill: transitions that each training task's replay starts with; its own collection.
    """

    def __init__(self, checkout: Path, fill: int) -> None:
        self.config = published(checkout)
        options = self.config["algo_params"]
        self._prior = options["num_steps_prior"]
        self._posterior = options["num_extra_rl_steps_posterior"]
        self._batch = options["meta_batch"]
        self.rows = self._batch * options["batch_size"]
        self.visited = self._prior + self._posterior
        made: list[Any] = []
        with _importing(checkout), tempfile.TemporaryDirectory() as scratch:
            launcher: Any = importlib.import_module("launch_experiment")
            # The launcher would train at its end; here it returns the algorithm instead.
            launcher.PEARLSoftActorCritic.train = lambda self: made.append(self)
            launcher.setup_logger = lambda *args, **options: scratch
            self.config["util_params"] |= {"use_gpu": False, "base_log_dir": scratch}
            launcher.experiment(self.config)
        self.algorithm = made[0]
        self.rng = np.random.default_rng(0)
        self.algorithm.training_mode(True)
        for task in self.algorithm.train_tasks:
            self._turn_to(task)
            self.algorithm.collect_data(fill, 1, np.inf)

    def learn(self, steps: int) -> None:
        """Take this many gradient steps."""
        for _ in range(steps):
            self.algorithm._do_training(self.rng.choice(self.algorithm.train_tasks, self._batch))

    def visit(self) -> None:
        """Collect on a training task what an iteration collects on each: `visited` steps."""
        task = int(self.rng.choice(self.algorithm.train_tasks))
        self._turn_to(task)
        self.algorithm.enc_replay_buffer.task_buffers[task].clear()
        self.algorithm.collect_data(self._prior, 1, np.inf)
        self.algorithm.collect_data(self._posterior, 1, 1, add_to_enc_buffer=False)

    def act(self, actions: np.ndarray) -> None:
        """Its environment alone, under actions (steps, n_a)."""
        self.algorithm.env.reset()
        for action in actions:
            self.algorithm.env.step(action)

    def _turn_to(self, task: int) -> None:
        self.algorithm.task_idx = task
        self.algorithm.env.reset_task(task)
