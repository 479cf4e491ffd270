"""Measured priors: what is known of a robot and its task before it moves, as a prior on a latent.

A measured prior names physical quantities. A bundle's factors say what they mean for its latent:
latent = (factor - offset) / scale, and a factor that is a sum, such as the socket's position plus
the grasp's error, adds the variances of its terms. A term that was not measured keeps its spread
over training's tasks, so the grasp's error bounds what may be claimed of the sum. Factors that
are not mentioned keep the bundle's prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from adapt.belief.gaussian import GaussianPrior
from adapt.bundle.fields import Factor, Finite, Name, Positive, Term
from adapt.bundle.manifest import Manifest
from adapt.errors import PriorError
from adapt.guard import GuardSettings, chi_square_bound
from adapt.strict_json import parse

PRIOR_FORMAT = "acclimate-prior-1"
PRIOR_BYTES = 1024 * 1024
MOST = 128
"""Quantities of a prior: a bridge that reads more would keep robots waiting."""
FINEST = 1e-3
"""Least standard deviation of a prior, in standard deviations of the bundle's."""


class MeasuredQuantity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantity. mean: of its natural logarithm where scale is "log". low, high: ends of the
    90 % interval [unit], for people. measured: false where the data told too little; the entry is
    then left aside. std: where the file has no covariance, in the mean's coordinates."""

    name: Name
    unit: Annotated[str, msgspec.Meta(max_length=64)]
    scale: Literal["linear", "log"]
    mean: Finite
    low: Finite | None = None
    high: Finite | None = None
    measured: bool = True
    std: Positive | None = None


class MeasuredPrior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """prior.json: jointly normal quantities. covariance: (n, n), of the means' coordinates; empty
    where every quantity has its own std. provenance: for people."""

    format: Literal["acclimate-prior-1"]
    parameters: Annotated[list[MeasuredQuantity], msgspec.Meta(min_length=1, max_length=MOST)]
    covariance: Annotated[list[list[Finite]], msgspec.Meta(max_length=MOST)] = []
    provenance: dict[str, str] = {}

    def whole_covariance(self) -> np.ndarray:
        """(n, n). Raises PriorError for what is no covariance."""
        names = [each.name for each in self.parameters]
        n = len(names)
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise PriorError(f"quantity {twice!r} is given twice")
        stds = [each.std for each in self.parameters]
        if not self.covariance:
            if None in stds:
                name = names[stds.index(None)]
                raise PriorError(f"quantity {name!r} has no std, and there is no covariance")
            return np.diag(np.array(stds, float) ** 2)
        if any(std is not None for std in stds):
            raise PriorError("both std and covariance are given; expected one of them")
        if [len(row) for row in self.covariance] != [n] * n:
            raise PriorError(f"covariance: expected {n} rows of {n} numbers, one per quantity")
        matrix = np.array(self.covariance)
        size = np.abs(matrix).max()
        if np.abs(matrix - matrix.T).max() > 1e-9 * size:
            raise PriorError("the covariance is not symmetric")
        for name, variance in zip(names, np.diag(matrix), strict=True):
            if not variance > 0:
                raise PriorError(f"quantity {name!r} has variance {variance:g}; expected above 0")
        return matrix


def read_prior(path: Path) -> MeasuredPrior:
    """Read prior.json. Raises PriorError naming the file and what is wrong in it."""
    try:
        with path.open("rb") as file:
            data = file.read(PRIOR_BYTES + 1)
    except OSError as error:
        raise PriorError(f"{path}: {error.strerror or error}") from error
    if len(data) > PRIOR_BYTES:
        raise PriorError(f"{path} has more than {PRIOR_BYTES} bytes")
    try:
        prior = parse(data, MeasuredPrior)
        covariance = prior.whole_covariance()
        # In units of each quantity's own deviation: metres and newtons stand beside each other.
        std = np.sqrt(np.diag(covariance))
        if np.linalg.eigvalsh(covariance / np.outer(std, std)).min() < -1e-9 * len(std):
            raise PriorError("the covariance has a negative eigenvalue; it is no covariance")
    except (ValueError, PriorError) as error:
        wanted = f"; expected {PRIOR_FORMAT!r}" if "`$.format`" in str(error) else ""
        raise PriorError(f"{path}: {error}{wanted}") from error
    return prior


@np.errstate(all="ignore")  # of numbers whose squares no float holds
def latent_prior(prior: MeasuredPrior, manifest: Manifest) -> GaussianPrior:
    """The prior that a bundle's beliefs start from, given what was measured.

    The latent's dimensions are independent, so correlations within one factor count and those
    between factors do not. A factor that is known no better than in training keeps the bundle's
    prior: the policy has never acted on a wider belief. Raises PriorError where the bundle cannot
    express it, where it claims more than FINEST, or lies outside of what training saw.
    """
    latent, name = manifest.latent, manifest.name
    if not latent.factors:
        raise PriorError(
            f"bundle {name!r} cannot start from a measured prior: its latent has no physical "
            "meaning (the manifest's latent.factors is empty)"
        )
    if reason := manifest.algorithm.refuses_prior(manifest):
        raise PriorError(f"bundle {name!r} cannot start from a measured prior: {reason}")
    start = GaussianPrior.of(latent.prior_mean, latent.prior_variance)
    mean, variance = start.mean.copy(), start.variance.copy()
    measured = _Measured(prior)
    used: set[str] = set()
    for factor in latent.factors:
        own = factor.offset + factor.scale * float(start.mean[factor.index])
        found = measured.factor(factor, own, manifest.factor_terms.get(factor.name, ()))
        if found is None:
            continue
        used.add(factor.name)
        index = factor.index
        scale = np.float64(factor.scale)
        claimed = found[1] / scale**2
        # Written so that a NaN is refused, here and below.
        if not claimed >= FINEST**2 * start.variance[index]:
            raise PriorError(
                f"factor {factor.name!r}: the prior claims a standard deviation of "
                f"{np.sqrt(found[1]):g} {factor.unit}; expected at least {FINEST:g} of training's"
            )
        if claimed < start.variance[index]:
            mean[index], variance[index] = (found[0] - factor.offset) / scale, claimed
    if not used:
        known = {f.name: None for f in latent.factors}
        known |= {t.name: None for terms in manifest.factor_terms.values() for t in terms}
        raise PriorError(
            f"the prior measures {', '.join(measured.names) or 'nothing'}; expected at least one "
            f"quantity of bundle {name!r}: {', '.join(known)}"
        )
    parts = (mean - start.mean) ** 2 / start.variance
    bound = chi_square_bound(latent.size, GuardSettings().tail)
    if not parts.sum() <= bound:
        worst = next(f for f in latent.factors if f.index == int(np.argmax(parts)))
        raise PriorError(
            f"the prior lies {parts.sum() ** 0.5:.3g} standard deviations from the bundle's; "
            f"training's tasks stay within {bound**0.5:.3g}. Most of it is {worst.name!r}, at "
            f"{worst.offset + worst.scale * mean[worst.index]:g} {worst.unit}"
        )
    return GaussianPrior(mean, variance)


class _Measured:
    """The quantities that were measured, by name."""

    def __init__(self, prior: MeasuredPrior) -> None:
        self._index = {p.name: i for i, p in enumerate(prior.parameters) if p.measured}
        self._quantities = prior.parameters
        self._covariance = prior.whole_covariance()

    @property
    def names(self) -> list[str]:
        return list(self._index)

    def factor(
        self, factor: Factor, mean: float, terms: Sequence[Term]
    ) -> tuple[float, float] | None:
        """Mean and variance of a factor in its unit; None where nothing of it was measured.

        mean: of the factor in training. A factor that is measured itself is taken as it is.
        """
        if factor.name in self._index:
            i = self._checked(factor.name, factor.unit)
            return self._quantities[i].mean, float(self._covariance[i, i])
        told = [term for term in terms if term.name in self._index]
        if not told:
            return None
        at = [self._checked(term.name, factor.unit) for term in told]
        weights = np.array([term.weight for term in told])
        shifts = [self._quantities[i].mean - term.mean for i, term in zip(at, told, strict=True)]
        variance = weights @ self._covariance[np.ix_(at, at)] @ weights
        variance += sum((t.weight * t.std) ** 2 for t in terms if t.name not in self._index)
        return mean + float(weights @ shifts), float(variance)

    def _checked(self, name: str, unit: str) -> int:
        """Where a quantity stands. Raises PriorError for another unit or scale than expected."""
        index = self._index[name]
        quantity = self._quantities[index]
        log = unit.startswith("log ")
        expected = {"unit": unit.removeprefix("log "), "scale": "log" if log else "linear"}
        found = {"unit": quantity.unit, "scale": quantity.scale}
        if found != expected:
            raise PriorError(
                f"quantity {name!r} has {_told(found)}; the bundle expects {_told(expected)}"
            )
        return index


def _told(words: Mapping[str, str]) -> str:
    return " and ".join(f"{key} {value!r}" for key, value in words.items())
