"""GaussianAdapter: posterior sampling with a belief updated at every transition, as PEARL does.

Each transition becomes one Gaussian factor by the encoder; the belief is their product with the
prior; the policy acts on a sample of it (Rakelly et al. 2019, arXiv 1903.08254).
"""

from __future__ import annotations

from typing import cast

import msgspec

from adapt.adapters.base import Adapter, Float32, Transition
from adapt.adapters.features import write_features
from adapt.belief.context import Context, RingState
from adapt.belief.gaussian import Accumulator, AccumulatorState, Belief
from adapt.bundle.algorithms import Gaussian, Mixture
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import SnapshotError


class _Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    context: RingState
    belief: AccumulatorState


class GaussianAdapter(Adapter):
    """See Adapter. `observe` costs one row of the encoder and O(n_z) for any context."""

    variant = Gaussian

    def __init__(self, bundle: PolicyBundle, seed: int) -> None:
        self._spec = cast("Gaussian | Mixture", bundle.manifest.algorithm)
        super().__init__(bundle, seed)
        # Buffers apart from the policy's: observe may run while act does.
        self._encoder = bundle.graphs["encoder"].bind()

    @property
    def context(self) -> Float32:
        """Copy of the transitions (K, n_c) behind the belief, oldest first."""
        with self._memory_lock:
            return self._context.array()

    def observe(self, transition: Transition) -> Belief:
        with self._memory_lock:
            observation, action, following = self._check(transition)
            if not self.adapting:
                return self._belief
            row, reward = self._encoder.inputs["transition"], transition.reward
            write_features(row, self._spec.transition, observation, action, reward, following)
            self._encoder.run()
            # The product may refuse the factor; only then may the context grow.
            self._product.add(self._encoder.outputs["mean"], self._encoder.outputs["variance"])
            self._context.append(row)
            self._belief = self._shown(self._product, self._belief.version + 1)
            return self._belief

    def _shown(self, product: Accumulator, version: int) -> Belief:
        """The belief that a product of factors makes."""
        return product.belief(version)

    def _first(self, version: int) -> Belief:
        return self._shown(self._blank()[1], version)

    def _forget(self, version: int) -> Belief:
        self._context, self._product = self._blank()
        return self._shown(self._product, version)

    def _remember(self) -> bytes:
        return msgspec.msgpack.encode(_Memory(self._context.snapshot(), self._product.snapshot()))

    def _recall(self, memory: bytes, version: int) -> Belief:
        # Into fresh objects: a memory that fails half-way leaves the old ones in place.
        context, product = self._blank()
        try:
            saved = msgspec.msgpack.decode(memory, type=_Memory)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotError(f"not a memory of Gaussian factors: {error}") from error
        context.restore(saved.context)
        product.restore(saved.belief)
        self._context, self._product = context, product
        return self._shown(product, version)

    def _blank(self) -> tuple[Context, Accumulator]:
        spec = self._spec
        width = spec.transition.size(self.bundle.manifest)
        return (
            Context(spec.capacity, width),
            Accumulator(self._start.mean, self._start.variance, spec.capacity),
        )
