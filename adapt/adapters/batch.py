"""Batch: one run of a policy for several robots of one bundle, each with its own latent and belief.

Row i of a run is what a run of that row alone gives, up to the rounding of float32: a provider may
add in another order for another number of rows. On the CPU no bit differed in any network that was
tried (onnxruntime 1.31, x86-64); nobody promises it, and processors differ. On a device runs are
padded to ROWS rows at least (see `Graph`), so that the same kernels compute a row alone and among
others.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapt.adapters.base import Action, Adapter, Float32
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.inference.session import SHARED_ROWS

ROWS = SHARED_ROWS


class Batch:
    """Asks the policy of one bundle for up to ROWS adapters at once. Belongs to one thread."""

    def __init__(self, bundle: PolicyBundle) -> None:
        self.bundle = bundle
        self._rows = bundle.policy.bind_rows(ROWS)
        self._alone = bundle.policy.bind()
        self._inputs = _each(self._rows.inputs)
        self._outputs = _each(self._rows.outputs)
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """Why the last shared run could not be made and each was run alone; None if it was made."""
        return self._failure

    def act(self, asked: Sequence[tuple[Adapter, Float32]]) -> list[Action | Exception]:
        """For each adapter and its observation (n_o,) what its `act` answers or raises, in order.

        What is wrong with one is its own: the others are answered as if it were not there, and
        where the run itself fails each is run alone. Raises ValueError, with nothing asked, for
        too many, for an adapter twice, or for one of another bundle.
        """
        self._check(asked)
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
        self._failure = None
        if posed:
            try:
                self._rows.run(len(posed))
            # onnxruntime's exceptions share no base of their own; alone each may still be well.
            except Exception as error:
                self._failure = error
        for row, index in enumerate(posed):
            try:
                outputs = self._run_alone(row) if self._failure else self._outputs[row]
                found[index] = asked[index][0].settle(outputs)
            except Exception as error:
                found[index] = error
        return found

    def _run_alone(self, row: int) -> dict[str, Float32]:
        for name, array in self._inputs[row].items():
            self._alone.inputs[name][:] = array
        self._alone.run()
        return self._alone.outputs

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


_NOT_RUN = RuntimeError("the policy was not run")


def _each(arrays: dict[str, Float32]) -> list[dict[str, Float32]]:
    """Row by row, views (width,) by name."""
    return [{name: array[row] for name, array in arrays.items()} for row in range(ROWS)]
