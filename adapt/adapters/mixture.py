"""MixtureAdapter: as GaussianAdapter, with a prior of several Gaussians."""

from __future__ import annotations

from typing import cast

from adapt.adapters.gaussian import GaussianAdapter
from adapt.belief.gaussian import Accumulator, Belief
from adapt.belief.mixture import MixturePrior
from adapt.bundle.algorithms import Mixture
from adapt.bundle.policy_bundle import PolicyBundle


class MixtureAdapter(GaussianAdapter):
    """See Adapter. `observe` costs one row of the encoder and O(K n_z) for any context.

    A measured prior multiplies the mixture by its ratio to the mixture's moments, as one more
    factor: components that the measurement speaks against lose their weight.
    """

    variant = Mixture

    def __init__(self, bundle: PolicyBundle, seed: int) -> None:
        components = cast("Mixture", bundle.manifest.algorithm).prior
        self._components = MixturePrior(
            [each.weight for each in components],
            [each.mean for each in components],
            [each.variance for each in components],
        )
        super().__init__(bundle, seed)

    def _shown(self, product: Accumulator, version: int) -> Belief:
        precision, information = product.factors()
        if self._start_bytes:
            more = self._start.ratio(self._own)
            precision, information = precision + more[0], information + more[1]
        return self._components.times(precision, information, product.count, version)
