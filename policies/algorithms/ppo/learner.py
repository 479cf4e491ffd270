"""PPO's training: a run in every world, with an update after each piece of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.errors import AcclimateError
from policies.algorithms.contract import Artefacts, Metrics, Setup, Trial
from policies.algorithms.ppo.agent import PpoPolicy
from policies.algorithms.ppo.belief import BeliefTraining, make_encoder
from policies.algorithms.ppo.config import PpoSettings
from policies.algorithms.ppo.export import artefacts
from policies.algorithms.ppo.memory import Memory, Sequences
from policies.algorithms.ppo.networks import PpoActor, PpoCritic
from policies.algorithms.ppo.rollout import RolloutRecorder, make_batch
from policies.algorithms.ppo.update import PpoUpdate
from policies.algorithms.ppo.warm_start import start_from
from policies.rollout.driver import RollOut
from policies.rollout.trials import Curve, score
from sim.core.worlds import Worlds


class PpoLearner:
    """See `policies.algorithms.contract.Learner`.

    Between two iterations nothing lives in the physics, and tasks and noise of an iteration are
    functions of its number. What remains is networks and their optimiser.
    """

    def __init__(self, setup: Setup[PpoSettings]) -> None:
        self.settings, self.setup = setup.settings, setup
        self.config = c = self.settings.learner
        self.family, self.spec = setup.family, setup.family.spec
        rows = self.settings.worlds * self.settings.rollout_steps
        if c.minibatches > rows:
            raise AcclimateError(
                f"learner.minibatches={c.minibatches} is more than the {rows} steps of a roll-out, "
                "worlds × rollout_steps"
            )
        n_o, n_a, n_f = self.spec.observation_size, self.spec.action_size, len(self.spec.factors)
        if c.knowledge in ("belief", "regression", "truth") and not n_f:
            raise AcclimateError(
                f"learner.knowledge={c.knowledge}: family {self.spec.name!r} names no factors of "
                "its tasks; expected none"
            )
        if c.knowledge == "regression" and self.settings.start is None:
            raise AcclimateError(
                "learner.knowledge=regression trains a belief for a policy that stays as it is; "
                "expected start=, the folder of a run with learner.knowledge=truth"
            )
        # The policy is trained; else the belief alone.
        self._trains = c.knowledge != "regression"
        fed = {"history": c.memory_size, "belief": 2 * n_f, "regression": n_f, "truth": n_f}
        n_k = fed.get(c.knowledge, 0)
        with torch.random.fork_rng():
            torch.manual_seed(setup.seeds.learner)
            self.actor = PpoActor(n_o, n_k, n_a, c.hidden, c.action_std)
            self.critic = PpoCritic(n_o + n_k + n_f, c.critic_hidden)
            believes = c.knowledge in ("belief", "regression")
            self.encoder = make_encoder(self.spec, c) if believes else None
            self.memory = Memory.of(self.spec, c) if c.knowledge == "history" else None
        self.update = PpoUpdate(self.actor, self.critic, c, self.memory)
        self.belief = None if self.encoder is None else BeliefTraining(self.encoder, c)
        self.steps = 0
        self._worlds: Worlds | None = None

    @property
    def updates(self) -> int:
        return self.update.steps

    @property
    def trial(self) -> Trial:
        return Trial(self.settings.validation_episodes, stochastic=False)

    def policy(self) -> PpoPolicy:
        return PpoPolicy(self.actor, self.encoder, self.memory, len(self.spec.factors), self.config)

    @property
    def worlds(self) -> Worlds:
        """Made when they are first needed: evaluation and export need none."""
        if self._worlds is None:
            s = self.settings
            self._worlds = self.family.make(s.worlds, 0, s.threads)
        return self._worlds

    def close(self) -> None:
        if self._worlds is not None:
            self._worlds.close()
            self._worlds = None

    def iterate(self, iteration: int) -> Metrics:
        """New tasks; then roll-outs, each with an update."""
        s, start = self.settings, time.perf_counter()
        if iteration == 0 and s.start is not None:
            start_from(s.start, self.modules(), self.spec, told=not self._trains)
        worlds, index = self.worlds, self._task_indices(iteration)
        noises = np.random.SeedSequence((self.setup.seeds.worlds, iteration)).spawn(3)
        worlds.rng = np.random.default_rng(noises[0])
        drawn, order = (
            torch.Generator().manual_seed(int(noise.generate_state(1, np.uint64)[0]))
            for noise in noises[1:]
        )
        worlds.assign([self.setup.tasks[i] for i in index])
        agent = self.policy().agent(s.worlds, drawn)
        agent.reset(np.ones(s.worlds, bool), worlds.factors())
        factors = torch.from_numpy(worlds.factors()).float()
        rolling = RollOut(worlds, agent)
        if iteration == 0 and self._trains:
            self._look_around(rolling, index)
        recorder = RolloutRecorder(worlds, index, s.rollouts * s.rollout_steps)
        collecting = time.perf_counter() - start
        sums: dict[str, Tensor] = {}
        for _ in range(s.rollouts):
            start = time.perf_counter()
            piece = recorder.extend(s.rollout_steps)
            rolling.run(recorder, True)
            collecting += time.perf_counter() - start
            if not self._trains:
                continue
            for name, value in self._learn(recorder, piece, factors, order).items():
                sums[name] = sums[name] + value if name in sums else value
        self.steps += s.rollouts * s.rollout_steps * s.worlds
        run, statistics = recorder.result()
        metrics = {f"collect/{k}": float(v) for k, v in statistics.items()}
        metrics["collect/reward"] = float(run.reward.sum() / max(run.valid.sum(), 1.0))
        metrics |= {f"learn/{k}": float(v) / s.rollouts for k, v in sums.items()}
        if self.belief is not None:
            metrics |= {f"learn/{k}": v for k, v in self.belief.fit(run, factors, order).items()}
        metrics["learn/learning_rate"] = self.update.rate
        metrics["learn/action_std"] = float(self.actor.log_std.detach().exp().mean())
        return metrics | {"time/collect": collecting, "steps": float(self.steps)}

    def _learn(
        self, recorder: RolloutRecorder, piece: slice, factors: Tensor, order: torch.Generator
    ) -> dict[str, Tensor]:
        """An update from one piece of the run."""
        valid = torch.from_numpy(recorder.run.valid[:, piece]) > 0
        if not valid.any():
            return {}
        batch = make_batch(recorder, piece, factors, self.actor, self.critic, self.config)
        sequences = None
        if self.memory is not None:
            sequences = Sequences.of(recorder, piece, self.config)
        found = self.update(batch, order, sequences) | {
            "value": self.critic.centre.clone(),
            "value_explained": batch.explained,
        }
        # Only now: the update compares with means that the old normalisers gave.
        self._fit_normalisers(recorder, piece)
        return found

    def _fit_normalisers(self, recorder: RolloutRecorder, piece: slice) -> None:
        """Show the normalisers a piece of a run."""
        valid = torch.from_numpy(recorder.run.valid[:, piece]) > 0
        observation = torch.from_numpy(recorder.run.observation[:, piece])
        self.actor.normaliser.update(observation[valid])
        if self.memory is not None:
            transitions = Sequences.of(recorder, piece, self.config).transitions
            self.memory.normaliser.update(transitions[valid])

    def _look_around(self, rolling: RollOut, index: np.ndarray) -> None:
        """Show the normalisers what an untrained policy meets, before anything is learnt from
        it."""
        steps = self.settings.rollout_steps
        recorder = RolloutRecorder(rolling.worlds, index, steps)
        piece = recorder.extend(steps)
        rolling.run(recorder, True)
        self._fit_normalisers(recorder, piece)
        self.steps += steps * self.settings.worlds

    def _task_indices(self, iteration: int) -> np.ndarray:
        """Of the iteration's tasks (B,), in shuffled passes: every task is met as often as every
        other."""
        n, b = len(self.setup.tasks), self.settings.worlds
        passes, place = np.divmod(iteration * b + np.arange(b), n)
        orders = {
            int(k): np.random.default_rng((self.setup.seeds.learner, int(k))).permutation(n)
            for k in np.unique(passes)
        }
        return np.array([orders[int(k)][i] for k, i in zip(passes, place, strict=True)])

    def judge(self, curve: Curve) -> Metrics:
        return {
            "steps": float(curve.steps[:, -1].mean()),
            "score": score(curve, self.family.judged_by),
        }

    def modules(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic}
        for name, module in (("encoder", self.encoder), ("memory", self.memory)):
            if module is not None:
                found[name] = module
        return found

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": {
                "modules": {k: m.state_dict() for k, m in self.modules().items()},
                "optimiser": self.update.optimiser.state_dict(),
                "belief": {} if self.belief is None else self.belief.optimiser.state_dict(),
                "updates": self.updates,
                "steps": self.steps,
            }
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        learner = state["learner"]
        for name, module in self.modules().items():
            module.load_state_dict(learner["modules"][name])
        self.update.optimiser.load_state_dict(learner["optimiser"])
        if self.belief is not None:
            self.belief.optimiser.load_state_dict(learner["belief"])
        self.update.steps, self.steps = int(learner["updates"]), int(learner["steps"])

    def export(self, run: Path, generator: torch.Generator) -> Artefacts:
        return artefacts(self.policy(), self.spec, run, generator)
