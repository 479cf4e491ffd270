"""MixtureAdapter: as GaussianAdapter, with a prior of several Gaussians."""

from __future__ import annotations

from typing import cast

from adapt.adapters.gaussian import GaussianAdapter
from adapt.belief.gaussian import Accumulator, Belief
from adapt.belief.mixture import MixturePrior
from adapt.bundle.algorithms import Mixture
from adapt.bundle.policy_bundle import PolicyBundle


class MixtureAdapter(GaussianAdapter):
    """See Adapter. `observe` costs one row of the encoder and O(K n_z) for any context."""

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
        return self._components.times(*product.factors(), product.count, version)
