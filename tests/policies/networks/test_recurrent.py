"""A recurrent belief: the same by runs and by steps, and as good as what can be known."""

import math

import pytest
import torch

from policies.networks.recurrent import RecurrentEncoder

N_C, N_Z, N_S, T = 5, 2, 8, 9


def encoder(window: int = 64, n_c: int = N_C, n_z: int = N_Z, n_s: int = N_S) -> RecurrentEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RecurrentEncoder(n_c, n_z, (16, 12), n_s, 3, window)


def runs(n: int = 4) -> torch.Tensor:
    return torch.randn(n, T, N_C, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("window", [1, 4, 64])
def test_beliefs_of_runs_are_those_of_steps(window: int) -> None:
    of, context = encoder(window=window), runs()
    valid = torch.ones(context.shape[:2])
    # Transitions that are not valid leave the state as it is.
    valid[1, 3:5] = 0
    valid[2] = 0
    prefixes = of.posteriors(context, valid)
    state, count = of.initial(4), torch.zeros(4, dtype=torch.long)
    everyone = torch.arange(4)
    for t in range(T):
        met = valid[:, t] > 0
        state = torch.where(met[:, None], of.step(state, context[:, t]), state)
        count += met
        found, expected = prefixes.after(everyone, count), of.read(state).where(count > 0)
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.roots, expected.roots)
    torch.testing.assert_close(prefixes.final().mean, expected.mean)
    assert (prefixes.final().mean[2] == 0).all()
    # Further prefixes than there are valid transitions are the last.
    late = prefixes.after(everyone, torch.full((4,), T))
    assert torch.equal(late.mean, prefixes.final().mean)


def test_a_gradient_goes_back_as_far_as_the_window() -> None:
    of, context = encoder(window=3), runs(1).requires_grad_()
    prefixes = of.posteriors(context, torch.ones(1, T))
    prefixes.states[0, 5].sum().backward()
    assert context.grad is not None
    reached = context.grad[0].abs().sum(-1) > 0
    # State 5 is the second of the second window.
    assert reached.tolist() == [False] * 3 + [True] * 2 + [False] * 4


def test_a_new_belief_is_near_the_prior_and_never_certain() -> None:
    of = encoder()
    found = of.read(torch.randn(50, N_S))
    assert (found.variance > 0.5).all() and (found.variance < 3.0).all()
    with torch.no_grad():
        of.head[-1].get_parameter("bias").fill_(-50.0)
    roots = of.read(torch.randn(50, N_S)).roots
    assert (roots.diagonal(dim1=-2, dim2=-1) >= of.SMALLEST).all()


def test_it_learns_a_posterior_that_no_product_of_factors_can_say() -> None:
    """The factor is ±1. A transition shows its sign only after another has given a signal, so that
    the order matters; before that both signs are possible, and nothing between them."""
    g = torch.Generator().manual_seed(0)
    n, of = 128, encoder(n_c=2, n_z=1, n_s=32)
    optimiser = torch.optim.Adam(of.parameters(), 1e-2)
    at = torch.zeros(n, dtype=torch.long)
    for _ in range(250):
        sign = 2.0 * torch.randint(2, (n, 1), generator=g) - 1.0
        signal = torch.zeros(n, T)
        at = torch.randint(T - 1, (n,), generator=g)
        signal[torch.arange(n), at] = 1.0
        shown = torch.randint(2, (n, T), generator=g) * 2.0 - 1.0
        shown[torch.arange(n), at + 1] = sign[:, 0]
        prefixes = of.posteriors(torch.stack([signal, shown], -1), torch.ones(n, T))
        loss = prefixes.loss(sign, g)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    everyone = torch.arange(n)
    with torch.no_grad():
        before, after = prefixes.after(everyone, at), prefixes.after(everyone, at + 2)
    later = at > 0
    unknown, known = before.negative_log_density(sign)[later], after.negative_log_density(sign)
    # Knowing the sign is worth ln 2; and one Gaussian over both has a density of 1.42 nats.
    assert unknown.mean() < 0.5
    assert unknown.mean() - known.mean() == pytest.approx(math.log(2), abs=0.4)
    assert before.mean[later].abs().mean() < 0.5 < after.mean.abs().mean()
