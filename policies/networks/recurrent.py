"""A belief that a gated recurrent unit carries from transition to transition.

The state h_t = GRU(h_t-1, e(transition t)) stays through the ends of episodes; from it a head reads
a mixture of Gaussians over the latent, q_t. The encoder is trained to name the task's true factors
after every prefix of a run: loss = mean over t of −log q_t(f). That is the per-step posterior of
VariBAD (Zintgraf et al. 2020, arXiv 1910.08348), decoded to the factors instead of to rewards.

A product of factors takes transitions for independent evidence. A state can remember instead where
the robot has searched, and a mixture can say "not here" of a place between two others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.networks.mixture import Mixture
from policies.networks.modules import Normaliser, mlp


def gru_step(cell: nn.GRU, inputs: Tensor, state: Tensor) -> Tensor:
    """States (n, n_s) after one more input (n, ·). The unit's equations are spelt out, for the
    exported graph has one step of it."""
    of = cell.get_parameter
    given = F.linear(inputs, of("weight_ih_l0"), of("bias_ih_l0")).chunk(3, -1)
    kept = F.linear(state, of("weight_hh_l0"), of("bias_hh_l0")).chunk(3, -1)
    reset, update = (torch.sigmoid(a + b) for a, b in zip(given[:2], kept[:2], strict=True))
    new = torch.tanh(given[2] + reset * kept[2])
    return new + update * (state - new)


class RecurrentEncoder(nn.Module):
    """Transitions → state → mixture of K Gaussians with full covariances.

    n_c: features of a transition. n_s: size of the state. components: K. hidden: widths of the
    network before the recurrent unit. window: transitions that a gradient goes back.
    """

    SMALLEST = 0.02
    """Standard deviation that no component falls below, so that no network is ever certain."""

    def __init__(
        self, n_c: int, n_z: int, hidden: Sequence[int], n_s: int, components: int, window: int
    ) -> None:
        super().__init__()
        self.n_z, self.n_s, self.components, self.window = n_z, n_s, components, window
        self.normaliser = Normaliser(n_c)
        self.embedding = mlp([n_c, *hidden], layer_norm=True)
        self.cell = nn.GRU(hidden[-1], n_s, batch_first=True)
        k, below = components, n_z * (n_z - 1) // 2
        self.sizes = [k, k * n_z, k * n_z, k * below]
        self.head = mlp([n_s, n_s, sum(self.sizes)], layer_norm=True)
        # Where each entry of a root (n_z n_z,) stands: diagonal, what is below it, then the zero.
        layout = torch.full((n_z, n_z), n_z + below)
        layout[range(n_z), range(n_z)] = torch.arange(n_z)
        rows, columns = torch.tril_indices(n_z, n_z, -1)
        layout[rows, columns] = n_z + torch.arange(below)
        self.layout = layout.reshape(-1)
        with torch.no_grad():
            # A new belief is near the prior, its components apart enough to part further.
            weight, bias = self.head[-1].parameters()
            weight.mul_(0.1)
            bias.zero_()
            bias[k : k + k * n_z].normal_(0.0, 0.5)

    def initial(self, n: int) -> Tensor:
        """States (n, n_s) before the first transition, where the belief is the prior."""
        return self.normaliser.mean.new_zeros(n, self.n_s)

    def step(self, state: Tensor, transition: Tensor) -> Tensor:
        """States (n, n_s) after one more transition (n, n_c)."""
        return gru_step(self.cell, self.embedding(self.normaliser(transition)), state)

    def read(self, state: Tensor) -> Mixture:
        """The beliefs (…,) of states (…, n_s), which have met a transition."""
        k, n_z = self.components, self.n_z
        logit, mean, diagonal, below = self.head(state).split(self.sizes, -1)
        lead = state.shape[:-1]
        # softplus(0.5) is near 1, the prior's standard deviation.
        diagonal = self.SMALLEST + F.softplus(diagonal + 0.5)
        zero = torch.zeros_like(logit)
        parts = [diagonal.reshape(*lead, k, -1), below.reshape(*lead, k, -1), zero[..., None]]
        root = torch.cat(parts, -1)[..., self.layout].reshape(*lead, k, n_z, n_z)
        return Mixture(torch.log_softmax(logit, -1), mean.reshape(*lead, k, n_z), root)

    def posteriors(self, context: Tensor, valid: Tensor) -> RecurrentPrefixes:
        """Beliefs after every prefix of runs.

        context: transitions (n, T, n_c). valid: (n, T), 0 leaves a transition out.
        """
        # Valid ones first: a robot's state does not change where nothing was observed.
        order = torch.argsort(-valid, dim=1, stable=True)
        context = context.take_along_dim(order[..., None], 1)
        # Rounded to bfloat16, a state would lose what it has gathered.
        with torch.autocast(context.device.type, enabled=False):
            x = self.embedding(self.normaliser(context))
            state = self.initial(len(x))
            states = [state[:, None]]
            for window in x.split(self.window, 1):
                made, last = self.cell(window, state.detach()[None])
                states.append(made)
                state = last[0]
        return RecurrentPrefixes(self, torch.cat(states, 1), valid.sum(1).long())


@dataclass(frozen=True)
class RecurrentPrefixes:
    """`Prefixes` of states (n, T + 1, n_s), of which the first count (n,) after the initial one
    come from valid transitions. A belief is read where it is asked for: reading costs more than
    carrying a state on.
    """

    encoder: RecurrentEncoder
    states: Tensor
    count: Tensor

    READS = 32
    """Prefixes of a run that its loss is read at."""

    def after(self, run: Tensor, prefix: Tensor) -> Mixture:
        prefix = torch.minimum(prefix, self.count[run])
        with torch.autocast(self.states.device.type, enabled=False):
            return self.encoder.read(self.states[run, prefix]).where(prefix > 0)

    def final(self) -> Mixture:
        return self.after(torch.arange(len(self.count), device=self.count.device), self.count)

    def loss(self, truth: Tensor, generator: torch.Generator) -> Tensor:
        # Not after none: what the prior says cannot be learnt.
        shape = len(self.count), self.READS
        drawn = torch.rand(shape, generator=generator, device=self.count.device)
        prefix = 1 + (drawn * self.count[:, None]).long()
        run = torch.arange(shape[0], device=self.count.device).repeat_interleave(self.READS)
        beliefs = self.after(run, prefix.reshape(-1))
        return beliefs.negative_log_density(truth[run]).mean()
