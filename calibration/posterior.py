"""How surely the quantities are known, what the data cannot tell, and how far the model is wrong.

Least squares alone claims too much: a model that is a little wrong leaves errors that are larger
than the sensors' and alike from one sample to the next. The noise of each channel is therefore its
error in the fit or on held-out recordings, the larger of both, times the square root of the number
of samples that one independent error lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.parameters import Priors

KEPT = 0.7
"""A quantity whose standard deviation stays above this share of its prior's keeps the prior."""
BLOCKS = (10, 50, 250)
"""Samples, over which errors are averaged to see how long they last."""
Z90 = 1.6449
"""Half width of a normal distribution's 90 % interval, in standard deviations."""


@dataclass(frozen=True)
class Posterior:
    """Normal, in the standard units of `priors`, of all quantities, nuisances included.

    x (n,): mean. information (n, n): what the data add to the priors' unit matrix.
    """

    priors: Priors
    x: np.ndarray
    information: np.ndarray

    @cached_property
    def covariance(self) -> np.ndarray:
        """(n, n) of the data and the priors together, widened, never beyond the prior's."""
        claimed = np.linalg.inv(self.information + np.eye(len(self.x)))
        factors = [p.widen for p in self.priors.items]
        scale = np.maximum(1.0, np.minimum(factors, 1 / np.sqrt(np.diag(claimed))))
        return claimed * np.outer(scale, scale)

    @cached_property
    def std(self) -> np.ndarray:
        """(n,): 1 where the data tell nothing."""
        return np.sqrt(np.diag(self.covariance))

    @cached_property
    def identified(self) -> np.ndarray:
        """Which (n,) the data tell; the others keep their prior. No nuisance is among them."""
        nuisance = np.array([p.nuisance for p in self.priors.items])
        return (self.std <= KEPT) & ~nuisance

    @cached_property
    def mean(self) -> np.ndarray:
        """x (n,), with the prior's 0 for what the data do not tell."""
        return np.where(self.identified, self.x, 0.0)

    @cached_property
    def reported(self) -> np.ndarray:
        """Covariance (n, n) with the prior's for what the data do not tell."""
        both = np.outer(self.identified, self.identified)
        return np.where(both, self.covariance, np.diag(np.where(self.identified, 0.0, 1.0)))

    def interval(self, index: int) -> tuple[float, float]:
        """Ends of the 90 % interval of one quantity in physical units."""
        half = Z90 * np.sqrt(self.reported[index, index])
        ends = np.tile(self.mean, (2, 1))
        ends[:, index] += [-half, half]
        low, high = self.priors.to_physical(ends)[:, index]
        return float(low), float(high)

    def unseen_directions(self) -> list[str]:
        """Combinations of reported quantities of which the data tell less than the prior, such as
        "0.8 encoder_bias.wrist_3 − 0.6 payload_centre_x", the least known first, in prior units."""
        shown = [i for i, p in enumerate(self.priors.items) if not p.nuisance]
        # Of the reported ones with the nuisances integrated out.
        information = np.linalg.inv(self.covariance[np.ix_(shown, shown)]) - np.eye(len(shown))
        sizes, vectors = np.linalg.eigh(information)
        texts = []
        for size, vector in zip(sizes, vectors.T, strict=True):
            if size >= 1.0:
                break
            order = [i for i in np.argsort(-np.abs(vector)) if abs(vector[i]) > 0.25]
            vector = vector * np.sign(vector[order[0]])
            terms = [f"{vector[i]:+.1f} {self.priors.names[shown[i]]}" for i in order]
            text = " ".join(terms).replace("+", "+ ").replace("-", "− ").removeprefix("+ ")
            texts.append(text.removeprefix("1.0 "))
        return texts


def posterior(
    priors: Priors, x: np.ndarray, jacobian: np.ndarray, scale: np.ndarray, noise: np.ndarray
) -> Posterior:
    """Of a fit's x (n,) and its jacobian (m T, n), which was divided by `scale` (m,), under m
    channels of standard deviation `noise` (m,)."""
    rows = jacobian.reshape(-1, len(scale), len(x)) * (scale / noise)[:, None]
    rows = rows.reshape(-1, len(x))
    return Posterior(priors, x, rows.T @ rows)


def effective_noise(
    fitted: Sequence[np.ndarray], held_out: Sequence[np.ndarray], sensor: np.ndarray
) -> np.ndarray:
    """Standard deviation (m,) of each channel as the module describes it, never below the
    sensor's. fitted, held_out: errors (T, m) of each recording."""
    missed = np.maximum(rms(fitted), rms(held_out)) if held_out else rms(fitted)
    length = np.mean([correlation_length(e) for e in fitted], axis=0)
    return np.maximum(sensor, missed) * np.sqrt(length)


def rms(errors: Sequence[np.ndarray]) -> np.ndarray:
    """Root mean square (m,) over all samples of all recordings (T, m)."""
    return np.sqrt((np.concatenate(errors) ** 2).mean(axis=0))


def correlation_length(errors: np.ndarray) -> np.ndarray:
    """Samples (m,) that one independent error lasts, at least 1. errors: (T, m).

    Means over b independent errors have 1/b of their variance; what the means of blocks of b
    samples have beyond that is the correlation's. The longest blocks find errors that are small
    beside the noise, and last.
    """
    lengths = [np.ones(errors.shape[1])]
    for block in BLOCKS:
        count = len(errors) // block
        if count >= 8:
            means = errors[: count * block].reshape(count, block, -1).mean(axis=1)
            lengths.append(block * (means**2).mean(axis=0) / (errors**2).mean(axis=0))
    return np.max(lengths, axis=0)


def autocorrelation(series: np.ndarray) -> np.ndarray:
    """Of a series (T,), at lags 0 … T − 1; that of a constant is 1 at lag 0 alone."""
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * len(series))
    values = np.fft.irfft(np.abs(spectrum) ** 2)[: len(series)]
    return values / values[0] if values[0] > 0 else np.eye(1, len(series))[0]
