"""RecurrentAdapter: a belief that a network carries from transition to transition.

The graph `belief_step` takes the state and one transition, and answers the next state and what its
head reads from it (VariBAD: Zintgraf et al. 2020, arXiv 1910.08348; RL²: Duan et al. 2016, arXiv
1611.02779). The state outlives episodes; only `reset` returns to the initial one. `act` does not
wait for `observe`, so a policy is trained with the state of one period ago, unless the manifest
says `synchronous`.
"""

from __future__ import annotations

from typing import cast

import msgspec
import numpy as np

from adapt.adapters.base import Adapter, Float32, Transition
from adapt.adapters.features import write_features
from adapt.adapters.stored_episode import floats
from adapt.belief.gaussian import Belief
from adapt.belief.mixture import make_mixture
from adapt.bundle.algorithms import Recurrent
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BeliefError, SnapshotError


class _Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """state: (n_s,), head: its outputs one after another; both little-endian float32, and empty
    before the first transition. count: transitions behind them."""

    state: bytes
    head: bytes
    count: int


class RecurrentAdapter(Adapter):
    """See Adapter. `observe` costs one row of the graph, at any time of a task."""

    variant = Recurrent

    def __init__(self, bundle: PolicyBundle, seed: int) -> None:
        self._spec = cast("Recurrent", bundle.manifest.algorithm)
        # Buffers apart from the policy's: observe may run while act does.
        self._step = bundle.graphs["belief_step"].bind()
        self._heads = [name for name in self._step.outputs if name != "new_state"]
        self._head = np.zeros(0, np.float32)
        super().__init__(bundle, seed)

    def observe(self, transition: Transition) -> Belief:
        with self._memory_lock:
            checked = self._check(transition)
            if not self.adapting:
                return self._belief
            before, inputs = self._belief, self._step.inputs
            observation, action, following = checked
            row, reward = inputs["transition"], transition.reward
            write_features(row, self._spec.transition, observation, action, reward, following)
            inputs["state"][:] = before.state
            self._step.run()
            outputs = self._step.outputs
            head = np.concatenate([outputs[name] for name in self._heads] or [self._head[:0]])
            state = outputs["new_state"].copy()
            self._belief = self._read(state, head, before.count + 1, before.version + 1)
            self._head = head
            return self._belief

    def _read(self, state: Float32, head: Float32, count: int, version: int) -> Belief:
        """The belief of a state and its head's outputs. Raises BeliefError."""
        if not np.isfinite(state).all():
            raise BeliefError("belief_step answers a state that is not finite")
        state.setflags(write=False)
        n_z, k = self.bundle.manifest.latent.size, self._spec.components
        numbers = head.astype(np.float64)
        if self._spec.head == "mixture":
            weight, mean, root = np.split(numbers, [k, k + k * n_z])
            shaped = mean.reshape(k, n_z), root.reshape(k, n_z, n_z)
            found = make_mixture(weight, *shaped, count, version, state)
            # The network's belief started from training's prior.
            return found.times(*self._start.ratio(self._own)) if self._start_bytes else found
        mean, variance = np.split(numbers, 2)
        if not (np.isfinite(numbers).all() and (variance > 0.0).all()):
            raise BeliefError(
                f"belief_step answers mean {mean} and variance {variance}; expected finite numbers "
                "and a positive variance"
            )
        if self._start_bytes:
            precision, shift = self._start.ratio(self._own)
            total = 1.0 / variance + precision
            mean, variance = (mean / variance + shift) / total, 1.0 / total
        mean.setflags(write=False)
        variance.setflags(write=False)
        return Belief(mean, variance, count, version, state)

    def _first(self, version: int) -> Belief:
        state = np.array(self._spec.initial_state, np.float32)
        state.setflags(write=False)
        return Belief(self._start.mean, self._start.variance, 0, version, state)

    def _forget(self, version: int) -> Belief:
        self._head = self._head[:0]
        return self._first(version)

    def _remember(self) -> bytes:
        belief = self._belief
        if not belief.count:
            return msgspec.msgpack.encode(_Memory(b"", b"", 0))
        state, head = (array.astype("<f4").tobytes() for array in (belief.state, self._head))
        return msgspec.msgpack.encode(_Memory(state, head, belief.count))

    def _recall(self, memory: bytes, version: int) -> Belief:
        try:
            saved = msgspec.msgpack.decode(memory, type=_Memory)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotError(f"not a memory of a recurrent belief: {error}") from error
        if not saved.count and not saved.state and not saved.head:
            return self._forget(version)
        state, head = (
            floats(data, "<f4", 1).astype(np.float32) for data in (saved.state, saved.head)
        )
        sizes = self._spec.state_size, sum(self._step.outputs[name].size for name in self._heads)
        if saved.count < 1 or (state.size, head.size) != sizes:
            raise SnapshotError(
                f"state and head of {state.size} and {head.size} numbers after {saved.count} "
                f"transitions; expected {sizes[0]} and {sizes[1]} after at least 1"
            )
        try:
            belief = self._read(state, head, saved.count, version)
        except BeliefError as error:
            raise SnapshotError(str(error)) from error
        self._head = head
        return belief
