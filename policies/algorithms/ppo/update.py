"""PPO's update: the clipped surrogate of Schulman et al. 2017 (arXiv 1707.06347), eq. 7, with the
learning rate steered by KL as in rsl_rl (Rudin et al. 2022, arXiv 2109.11978)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.memory import Memory, Sequences
from policies.algorithms.ppo.networks import PpoActor, PpoCritic
from policies.algorithms.ppo.rollout import Batch

RATE_STEP, RATE_LOW, RATE_HIGH = 1.5, 1e-5, 1e-2
"""By what the learning rate changes, and between which bounds."""


class PpoUpdate:
    """One optimiser for actor, critic and memory, and the passes over a batch.

    steps: gradient steps so far.
    """

    def __init__(
        self, actor: PpoActor, critic: PpoCritic, config: PpoConfig, memory: Memory | None = None
    ) -> None:
        self.actor, self.critic, self.config, self.memory = actor, critic, config, memory
        trained = [actor, critic] if memory is None else [actor, critic, memory]
        self._parameters = [p for module in trained for p in module.parameters()]
        self.optimiser = torch.optim.Adam(self._parameters, config.learning_rate, fused=True)
        self.steps = 0

    @property
    def rate(self) -> float:
        """Adam's learning rate."""
        return self.optimiser.param_groups[0]["lr"]

    def __call__(
        self, batch: Batch, generator: torch.Generator, sequences: Sequences | None = None
    ) -> dict[str, Tensor]:
        """Some epochs of gradient steps.

        Args:
            generator: of the rows' order.
            sequences: the same roll-out in its order, where there is a memory.

        A pass that has gone too far from the old policy is the last one. Returns means over the
        steps by name; "kl" is the last pass's.
        """
        c, steps = self.config, 0
        sums: dict[str, Tensor] = {}
        last = torch.zeros(())
        for _ in range(c.epochs):
            kls: list[Tensor] = []
            for rows, fed in self._minibatches(batch, generator, sequences):
                found = self._step(rows, fed, batch)
                kls.append(found["kl"])
                for name, value in found.items():
                    sums[name] = sums[name] + value if name in sums else value
            if not kls:
                return {}
            steps += len(kls)
            last = torch.stack(kls).mean()
            if c.target_kl and last > 2.0 * c.target_kl:
                break
        self.steps += steps
        if c.target_kl:
            self._steer(float(last))
        return {name: value / steps for name, value in sums.items()} | {"kl": last}

    def _minibatches(
        self, batch: Batch, generator: torch.Generator, sequences: Sequences | None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows of one pass, and what a memory feeds the actor now; with a memory in whole worlds,
        for its state goes through time."""
        if self.memory is None or sequences is None:
            n = len(batch.rows)
            shuffled = batch.rows[torch.randperm(n, generator=generator)]
            yield from ((rows, None) for rows in shuffled.tensor_split(self._parts(n)))
            return
        n = len(sequences.row)
        for worlds in torch.randperm(n, generator=generator).tensor_split(self._parts(n)):
            row = sequences.row[worlds]
            states = self.memory.states(sequences.start[worlds], sequences.transitions[worlds])
            if (row >= 0).any():
                yield batch.rows[row[row >= 0]], states[row >= 0]

    def _parts(self, n: int) -> int:
        return min(self.config.minibatches, n)

    def _step(self, rows: Tensor, fed: Tensor | None, batch: Batch) -> dict[str, Tensor]:
        """One gradient step on rows of the batch; fed: (N, n_k) in the place of what it holds."""
        c = self.config
        n_in, n_f = batch.sizes[:2]
        inputs = rows[:, :n_in]
        if fed is not None:
            inputs = torch.cat([inputs[:, : n_in - fed.shape[1]], fed], 1)
        raw, old_mean, advantage, target, old_value = rows[:, n_in + n_f :].split(
            batch.sizes[2:], 1
        )
        mean, log_std, old_log_std = (
            self.actor.body(inputs),
            self.actor.log_std,
            batch.log_std,
        )
        kl = _kl(old_mean, old_log_std, mean.detach(), log_std.detach())
        z, old_z = (raw - mean) * torch.exp(-log_std), (raw - old_mean) * torch.exp(-old_log_std)
        # The tanh's Jacobian is the same in both densities.
        log_ratio = 0.5 * (old_z**2 - z**2).sum(1) + (old_log_std - log_std).sum()
        ratio = log_ratio.exp()
        policy_loss = -clipped_surrogate(ratio, advantage[:, 0], c.clip)
        entropy = _entropy(mean + log_std.exp() * old_z, log_std)
        value = self.critic(rows[:, : n_in + n_f])
        value_loss = self._value_loss(value, target[:, 0], old_value[:, 0])
        loss = policy_loss + c.value_weight * value_loss - c.entropy_weight * entropy
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, c.max_gradient)
        self.optimiser.step()
        return {
            "kl": kl,
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "clipped": ((ratio.detach() - 1.0).abs() > c.clip).float().mean(),
            "gradient": norm,
        }

    def _value_loss(self, value: Tensor, target: Tensor, old: Tensor) -> Tensor:
        error = (value - target) ** 2
        if self.config.value_clip:
            bound = self.config.value_clip
            near = old + (value - old).clamp(-bound, bound)
            error = torch.max(error, (near - target) ** 2)
        return error.mean()

    def _steer(self, kl: float) -> None:
        """Change the learning rate where an update went too far, or could have gone further.

        Once an update, unlike rsl_rl: within one, KL from the old policy always grows.
        """
        target, rate = self.config.target_kl, self.rate
        if kl > 2.0 * target:
            rate = max(rate / RATE_STEP, RATE_LOW)
        elif kl < 0.5 * target:
            rate = min(rate * RATE_STEP, RATE_HIGH)
        for group in self.optimiser.param_groups:
            group["lr"] = rate


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Eq. 7: the mean over N actions of what new probabilities are worth. It gains nothing from a
    ratio (N,) of new to old probability that has gone further than `clip` the way that pays."""
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return torch.min(advantage * ratio, advantage * clipped).mean()


def _kl(mean: Tensor, log_std: Tensor, new_mean: Tensor, new_log_std: Tensor) -> Tensor:
    """Mean over rows of KL(N(mean, std) ‖ N(new_mean, new_std)); means (N, n_a), stds (n_a,)."""
    wider = log_std - new_log_std
    distance = ((mean - new_mean) ** 2 * torch.exp(-2.0 * new_log_std)).sum(1).mean()
    return 0.5 * (distance + (torch.exp(2.0 * wider) - 1.0 - 2.0 * wider).sum())


def _entropy(raw: Tensor, log_std: Tensor) -> Tensor:
    """Mean entropy of actions tanh(raw) [nat], from one draw of each row's distribution.

    It bounds the spread: beyond some point a wider Gaussian only presses actions to −1 and 1.
    """
    gaussian = (log_std + 0.5 * math.log(2.0 * math.pi * math.e)).sum()
    # log(1 − tanh²u) = 2 (log 2 − u − softplus(−2u)), which does not overflow.
    squashed = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
    return gaussian + squashed.sum(1).mean()
