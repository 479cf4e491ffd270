"""A whole episode, as SteppedAdapter learns from it: in memory and in a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.errors import SnapshotError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class SavedRollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One episode at rest. latents (draws, n_z), observations (steps, n_o), rewards (steps,):
    little-endian float32. current: drawn from the belief in force."""

    latents: bytes
    observations: bytes
    rewards: bytes
    current: bool
    spoilt: str


@dataclass
class Rollout:
    """draws: latents (n_z,) in order. version: of the belief they were drawn from, -1 once two
    differ. spoilt: why it teaches nothing."""

    draws: list[Float32] = field(default_factory=list)
    version: int = -2
    observations: list[Float32] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    spoilt: str = ""

    def drew(self, latent: Float32, version: int) -> None:
        """One more latent, of a belief of that version."""
        self.version = version if self.version in (-2, version) else -1
        self.draws.append(latent)

    def save(self, version: int) -> SavedRollout:
        """version: of the belief in force."""
        parts = (self.draws, self.observations, self.rewards)
        latents, observations, rewards = (np.asarray(part, "<f4").tobytes() for part in parts)
        return SavedRollout(latents, observations, rewards, self.version == version, self.spoilt)


def revive(saved: SavedRollout, version: int, n_o: int, n_z: int) -> Rollout:
    """An episode from a snapshot, whose belief in force now has that version. Raises
    SnapshotError."""
    rewards = floats(saved.rewards, "<f4", 1).tolist()
    observations = floats(saved.observations, "<f4", n_o)
    draws = floats(saved.latents, "<f4", n_z)
    if observations.size != len(rewards) * n_o:
        raise SnapshotError(
            f"{observations.size} observed numbers for {len(rewards)} rewards; expected "
            f"{n_o} for each"
        )
    return Rollout(
        list(draws.astype(np.float32).reshape(-1, n_z)),
        version if saved.current else -1,
        list(observations.astype(np.float32).reshape(-1, n_o)),
        rewards,
        saved.spoilt,
    )


def floats(data: bytes, dtype: str, width: int) -> Float64:
    """Finite numbers, whole rows of `width`; SnapshotError otherwise."""
    if len(data) % (np.dtype(dtype).itemsize * width):
        raise SnapshotError(f"{len(data)} bytes are no rows of {width} numbers")
    numbers = np.frombuffer(data, dtype).astype(np.float64)
    if not np.isfinite(numbers).all():
        raise SnapshotError("a stored number is not finite")
    return numbers
