"""Batch: one run of a policy for several robots of one bundle, each with its own latent and belief.

Row i of a run equals a run of that row alone up to the rounding of float32: a provider may add in
another order for another number of rows. On the CPU no bit differed in any network that was tried
(onnxruntime 1.31, x86-64); onnxruntime does not promise it, and processors differ. On a device runs
are padded to ROWS rows at least (see `Graph`), so that the same kernels compute a row alone and
among others.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapt.adapters.base import Action, Adapter, Float32
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.inference.session import SHARED_ROWS, Graph

ROWS = SHARED_ROWS


class Batch:
    """Asks a bundle's policies for up to ROWS adapters at once. Belongs to one thread."""

    def __init__(self, bundle: PolicyBundle) -> None:
        self.bundle = bundle
        names = dict.fromkeys(phase.policy for phase in bundle.manifest.phases)
        self._shared = {name: _Shared(bundle.graphs[name]) for name in names}

    @property
    def failure(self) -> Exception | None:
        """Why a shared run of the last call could not be made and its rows were run alone; None if
        all were made."""
        failures = (shared.failure for shared in self._shared.values())
        return next((failure for failure in failures if failure), None)

    def act(self, asked: Sequence[tuple[Adapter, Float32]]) -> list[Action | Exception]:
        """For each adapter and its observation (n_o,) what its `act` answers or raises, in order.

        A fault of one leaves the answers of the others as if it were not there, and where a run
        itself fails each of its rows is run alone. Raises ValueError, with nothing asked, for too
        many adapters, for one twice, or for one of another bundle.
        """
        self._check(asked)
        found: list[Action | Exception] = [_NOT_RUN] * len(asked)
        for name, shared in self._shared.items():
            indices = [i for i, (adapter, _) in enumerate(asked) if adapter.policy == name]
            answers = shared.act([asked[index] for index in indices])
            for index, answer in zip(indices, answers, strict=True):
                found[index] = answer
        return found

    def _check(self, asked: Sequence[tuple[Adapter, Float32]]) -> None:
        if len(asked) > ROWS:
            raise ValueError(f"{len(asked)} adapters; one run takes at most {ROWS}")
        if len({id(adapter) for adapter, _ in asked}) < len(asked):
            raise ValueError("one adapter is asked twice in one run")
        for adapter, _ in asked:
            if adapter.bundle.digest != self.bundle.digest:
                raise ValueError(
                    f"an adapter of the bundle {adapter.bundle.digest[:12]}; this run is of "
                    f"{self.bundle.digest[:12]}"
                )


class _Shared:
    """Runs of one policy graph."""

    def __init__(self, policy: Graph) -> None:
        self._rows = policy.bind_rows(ROWS)
        self._alone = policy.bind()
        self._inputs = _each(self._rows.inputs)
        self._outputs = _each(self._rows.outputs)
        self.failure: Exception | None = None

    def act(self, asked: Sequence[tuple[Adapter, Float32]]) -> list[Action | Exception]:
        found: list[Action | Exception] = []
        posed: list[int] = []
        for adapter, observation in asked:
            try:
                adapter.pose(observation, self._inputs[len(posed)])
            # Its row is the next one's.
            except Exception as error:
                found.append(error)
                continue
            posed.append(len(found))
            found.append(_NOT_RUN)
        self.failure = None
        if posed:
            try:
                self._rows.run(len(posed))
            # onnxruntime's exceptions share no base of their own; alone each may still be well.
            except Exception as error:
                self.failure = error
        for row, index in enumerate(posed):
            try:
                outputs = self._run_alone(row) if self.failure else self._outputs[row]
                found[index] = asked[index][0].settle(outputs)
            except Exception as error:
                found[index] = error
        return found

    def _run_alone(self, row: int) -> dict[str, Float32]:
        for name, array in self._inputs[row].items():
            self._alone.inputs[name][:] = array
        self._alone.run()
        return self._alone.outputs


_NOT_RUN = RuntimeError("the policy was not run")


def _each(arrays: dict[str, Float32]) -> list[dict[str, Float32]]:
    """Row by row, views (width,) by name."""
    return [{name: array[row] for name, array in arrays.items()} for row in range(ROWS)]
