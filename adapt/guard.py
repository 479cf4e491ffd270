"""Guard: is this robot inside what training saw?

Two questions, each cheap enough for every control period. The belief: its mean's squared
Mahalanobis distance from the prior. Tasks drawn as in training have posterior means that scatter
less than the prior does, so that the distance stays below a chi-square bound with n_z degrees of
freedom; a belief that moves by steps stays within the bundle's own bound. The observation: each
number against the range that training saw, where the manifest carries it. Outside of either, what
the policy does was never tried.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from adapt.belief.gaussian import Belief
from adapt.bundle.layout import Layout
from adapt.bundle.manifest import Manifest

# Factors only ever narrow a belief; beyond rounding, a wider one is none of theirs.
WIDER = 1.0 + 1e-9


@dataclass(frozen=True)
class GuardSettings:
    """fallback: what a robot outside does. `prior` acts on latents drawn from the prior, which suit
    every task a little; `hold` stays where it is; `none` goes on and only says so.
    tail: share of the prior's own tasks that the bound on the belief would call outside. At 1e-6
        one in a million: an alarm then means that something differs, not that time has passed.
    margin: how far beyond the range seen in training an observation may lie, as a part of that
        range; a finite sample never shows the very ends.
    patience: observations outside, in a row or nearly so, before the verdict is: one spike of a
        sensor is ordinary. As many inside lead back.
    """

    fallback: Literal["prior", "hold", "none"] = "prior"
    tail: Annotated[float, Meta(gt=0.0, lt=0.5)] = 1e-6
    margin: Annotated[float, Meta(ge=0.0)] = 0.1
    patience: Annotated[int, Meta(ge=1, le=10_000)] = 5


# A Struct, for one is made of every new belief: a frozen dataclass takes ten times as long.
class Verdict(Struct, frozen=True):
    """score: 1 is the bound, for a belief its squared distance against the bound, for an
    observation its excess against the slack. reason: empty inside."""

    inside: bool
    score: float
    reason: str = ""


INSIDE = Verdict(True, 0.0)


class Guard:
    """Judges one robot; but for `belief`, it belongs to the thread that acts."""

    def __init__(self, manifest: Manifest, settings: GuardSettings | None = None) -> None:
        self.settings = settings or GuardSettings()
        latent = manifest.latent
        self._layout = Layout("observation", manifest.observation)
        self._names = {factor.index: factor.name for factor in latent.factors}
        self._mean = np.asarray(latent.prior_mean, np.float64)
        self._variance = np.asarray(latent.prior_variance, np.float64)
        self._widest = WIDER * manifest.algorithm.widest * self._variance
        # The largest squared distance from the prior that counts as inside.
        furthest = manifest.algorithm.furthest
        if furthest is not None:
            self.bound = WIDER * furthest**2
        elif latent.size:
            self.bound = chi_square_bound(latent.size, self.settings.tail)
        else:
            self.bound = math.inf
        seen = manifest.seen
        self._range: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
        if seen is not None:
            low, high = np.asarray(seen.low), np.asarray(seen.high)
            self._slack = np.maximum(self.settings.margin * (high - low), np.asarray(seen.std))
            self._range = low - self._slack, high + self._slack
        self._judged: tuple[Belief | None, Verdict] = None, INSIDE  # the last belief's
        self._outside = 0  # observations towards `patience`, or back from it
        self._last = INSIDE  # of the observations

    def reset(self) -> None:
        """Another task, or another belief: judge anew."""
        self._outside, self._last = 0, INSIDE

    @property
    def range(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """Lowest and highest observation (n_o,) inside; None for a bundle that does not say."""
        return self._range

    def judge(
        self, belief: Belief, observation: npt.NDArray[np.float32], within: bool = False
    ) -> Verdict:
        """The worse verdict of the two. observation: (n_o,), finite. within: it is known to lie
        within `range`."""
        judged, one = self._judged
        if judged is not belief:
            one = self.belief(belief)
        other = self.observation(observation, within)
        return one if not one.inside or other.inside else other

    def belief(self, belief: Belief) -> Verdict:
        """Whether the belief is one that training's tasks lead to. For any thread: the one that
        learns asks first, so that the one that acts finds the verdict."""
        found = self._weigh(belief)
        self._judged = belief, found
        return found

    def _weigh(self, belief: Belief) -> Verdict:
        mean, variance = belief.mean, belief.variance
        if not mean.size:
            return INSIDE
        # First what is nearly always so, in few steps: it is asked for with every new belief.
        # Written so that a NaN is outside.
        away = mean - self._mean
        distance = float(away @ (away / self._variance))
        narrow = (variance > 0.0) & (variance <= self._widest)
        if distance <= self.bound and 0 not in narrow.tobytes():
            return Verdict(True, distance / self.bound)
        sound = np.isfinite(mean) & narrow
        if not sound.all():
            index = int(np.argmin(sound))
            return Verdict(
                False,
                math.inf,
                f"belief {self._name(index)} has mean {mean[index]:g} and variance "
                f"{variance[index]:g}; expected finite numbers and a variance of at most "
                f"{self._widest[index]:g}",
            )
        parts = away**2 / self._variance
        index = int(np.argmax(parts))
        return Verdict(
            False,
            distance / self.bound,
            f"the belief lies {math.sqrt(distance):.3g} prior standard deviations from the prior; "
            f"training's tasks stay within {math.sqrt(self.bound):.3g}; most of it is "
            f"{self._name(index)}, at {mean[index]:.3g}",
        )

    def observation(self, observation: npt.NDArray[np.float32], inside: bool = False) -> Verdict:
        """Whether the last observations lie where training's did; inside without `seen`."""
        if self._range is None:
            return INSIDE
        low, high = self._range
        patience = self.settings.patience
        within = np.True_ if inside else (observation >= low) & (observation <= high)
        if inside or within.all():
            self._outside = max(0, self._outside - 1)
            if not self._last.inside and not self._outside:
                self._last = INSIDE
            return self._last
        self._outside = min(patience, self._outside + 1)
        if self._outside == patience:
            index = int(np.argmin(within))
            value = float(observation[index])
            slack = float(self._slack[index])
            excess = max(float(low[index]) - value, value - float(high[index]))
            self._last = Verdict(
                False,
                1.0 + (excess / slack if slack > 0.0 else math.inf),
                f"observation {self._layout.locate(index)} is {value:.6g}; training saw "
                f"{low[index] + slack:.6g} to {high[index] - slack:.6g}",
            )
        return self._last

    def _name(self, index: int) -> str:
        return self._names.get(index, f"dimension {index}")


@functools.cache
def chi_square_bound(freedom: int, tail: float) -> float:
    """The number that a chi-square variable with `freedom` degrees exceeds with probability
    `tail`."""
    low, high = 0.0, float(freedom)
    while chi_square_tail(high, freedom) > tail:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        if chi_square_tail(middle, freedom) > tail:
            low = middle
        else:
            high = middle
    return high


def chi_square_tail(x: float, freedom: int) -> float:
    """Probability that a chi-square variable exceeds x: closed form for whole degrees of freedom
    (Abramowitz and Stegun 26.4.4 and 26.4.5)."""
    half = 0.5 * x
    if half <= 0.0:
        return 1.0
    start = 0.0 if freedom % 2 == 0 else 0.5
    total = 0.0 if freedom % 2 == 0 else math.erfc(math.sqrt(half))
    for k in range(freedom // 2):
        power = k + start
        # By logarithms: the terms themselves overflow at a few hundred degrees of freedom.
        total += math.exp(power * math.log(half) - half - math.lgamma(power + 1.0))
    return total
