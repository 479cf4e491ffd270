"""The manifest's algorithm block: one tagged struct per family of algorithms.

Each says which graphs its adapter runs, what it remembers, and what bounds its beliefs.
Legend: n_o observation, n_a action, n_z latent, n_c transition features.
"""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec.structs import StructConfig

from adapt.bundle.fields import Finite, Positive
from adapt.errors import BundleError
from adapt.inference.graph_signature import GraphSignature

if TYPE_CHECKING:
    from adapt.bundle.manifest import Manifest


class Algorithm:
    """What a variant says of itself to the rest of the program."""

    # No struct itself: msgspec would otherwise read a manifest's block as one without a variant.
    __slots__ = ()
    __struct_config__: StructConfig

    @property
    def kind(self) -> str:
        """The variant's tag, such as "gaussian"."""
        return str(self.__struct_config__.tag)

    @property
    def state_size(self) -> int:
        """Numbers in the belief's state; 0 where it has none."""
        return 0

    @property
    def furthest(self) -> float | None:
        """Largest distance of a belief's mean from the prior's, in prior standard deviations; None
        where beliefs scatter as the prior does."""
        return None

    @property
    def widest(self) -> float:
        """Largest variance of a belief, in prior variances."""
        return 1.0

    def refuses_prior(self, manifest: Manifest) -> str:
        """Why its beliefs cannot start from another prior than the manifest's; "" where they can,
        by precisions that are added to theirs."""
        return f"beliefs of the algorithm {self.kind!r} start from the bundle's own prior alone"

    def graphs(self, manifest: Manifest) -> dict[str, GraphSignature]:
        """The graphs beside the policies, by name."""
        return {}

    def problems(self, manifest: Manifest) -> list[str]:
        """What is wrong with the block, each as one sentence."""
        return [] if manifest.latent.size else [f"algorithm {self.kind!r} needs a latent"]


class Variant(Algorithm, msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every variant; a variant's `tag` finds its adapter (`adapt.adapters.registry`)."""


class NoAdaptation(Variant, frozen=True, tag="none"):
    """A fixed policy without a latent, such as one trained by domain randomisation."""

    def problems(self, manifest: Manifest) -> list[str]:
        size = manifest.latent.size
        return [f"algorithm 'none' has no latent; latent.size is {size}, not 0"] if size else []


class TransitionRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a row of n_c transition features: observation, normalised action, then the reward
    and the next observation where they are set."""

    reward: bool
    next_observation: bool

    def size(self, manifest: Manifest) -> int:
        """n_c."""
        n_o = manifest.observation_size
        return n_o + manifest.action_size + self.reward + n_o * self.next_observation


class Gaussian(Variant, frozen=True, tag="gaussian"):
    """PEARL (Rakelly et al. 2019): `encoder` makes one Gaussian factor of each transition; the
    belief is their product with the prior.

    capacity: transitions kept; as many as in training, because more makes the belief surer than
        the policy has ever seen it.
    """

    transition: TransitionRow
    capacity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

    def refuses_prior(self, manifest: Manifest) -> str:
        return ""

    def graphs(self, manifest: Manifest) -> dict[str, GraphSignature]:
        n_z = manifest.latent.size
        taken = {"transition": self.transition.size(manifest)}
        return {"encoder": GraphSignature(taken, {"mean": n_z, "variance": n_z})}


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Gaussian of a mixture. mean, variance: (n_z,)."""

    weight: Positive
    mean: list[Finite]
    variance: list[Positive]


class Mixture(Variant, frozen=True, tag="mixture"):
    """A prior of several Gaussians, for tasks that come in kinds; `encoder` makes one Gaussian
    factor of each transition, as for `Gaussian`, and each component is multiplied by all of them.

    prior: its components; the weights need not sum to 1. The manifest's latent gives the prior's
        moments. capacity: transitions kept, as in training.
    """

    transition: TransitionRow
    capacity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    prior: Annotated[list[Component], msgspec.Meta(min_length=1, max_length=1024)]

    @property
    def widest(self) -> float:
        # Factors may move the weight to the widest component.
        return math.inf

    def refuses_prior(self, manifest: Manifest) -> str:
        return ""

    def graphs(self, manifest: Manifest) -> dict[str, GraphSignature]:
        return Gaussian(self.transition, self.capacity).graphs(manifest)

    def problems(self, manifest: Manifest) -> list[str]:
        n_z = manifest.latent.size
        return super().problems(manifest) + [
            f"algorithm.prior[{index}] has {len(each.mean)} means and {len(each.variance)} "
            f"variances; latent.size is {n_z}"
            for index, each in enumerate(self.prior)
            if not len(each.mean) == len(each.variance) == n_z
        ]


class Recurrent(Variant, frozen=True, tag="recurrent"):
    """A network that carries a state from transition to transition, such as VariBAD's GRU, RL²'s,
    or a transformer's rolling cache flattened to one row.

    `belief_step` takes `state` (n_s,) and `transition` (n_c,), and answers `new_state` and what its
    head reads from it: "gaussian" `mean` and `variance` (n_z,); "mixture", of K `components`,
    `weight` (K,), `mean` (K n_z,) and `cholesky` (K n_z n_z,), the lower triangular roots of the
    covariances; "none" nothing, for a policy that is fed the state itself.

    initial_state: before the first transition, where the belief is the manifest's prior.
    max_widening: largest variance of a belief, in prior variances.
    """

    transition: TransitionRow
    initial_state: Annotated[list[Finite], msgspec.Meta(min_length=1, max_length=65_536)]
    head: Literal["gaussian", "mixture", "none"]
    components: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    max_widening: Positive = 4.0

    @property
    def state_size(self) -> int:
        return len(self.initial_state)

    @property
    def widest(self) -> float:
        return self.max_widening

    def refuses_prior(self, manifest: Manifest) -> str:
        # The network's belief holds training's prior. What a head reads can be multiplied by the
        # ratio of the two priors; the state cannot.
        if any(phase.condition == "state" for phase in manifest.phases):
            return "a policy is fed the state of a recurrent belief, which holds training's prior"
        return ""

    def graphs(self, manifest: Manifest) -> dict[str, GraphSignature]:
        n_z, k = manifest.latent.size, self.components
        heads: dict[str, dict[str, int]] = {
            "gaussian": {"mean": n_z, "variance": n_z},
            "mixture": {"weight": k, "mean": k * n_z, "cholesky": k * n_z * n_z},
            "none": {},
        }
        taken = {"state": self.state_size, "transition": self.transition.size(manifest)}
        made = {"new_state": self.state_size, **heads[self.head]}
        return {"belief_step": GraphSignature(taken, made)}

    def problems(self, manifest: Manifest) -> list[str]:
        problems: list[str] = []
        if (self.head == "none") == bool(manifest.latent.size):
            problems.append(
                f"algorithm.head is {self.head!r} and latent.size {manifest.latent.size}; a belief "
                "without a head has no latent, and one with a head has"
            )
        if (self.head == "mixture") != bool(self.components):
            problems.append(
                f"algorithm.components is {self.components} for the head {self.head!r}; a mixture "
                "has at least 1, another head 0"
            )
        return problems


class Stepped(Variant, frozen=True, tag="stepped", kw_only=True):
    """MAESN (Gupta et al. 2018) and its kin: `latent_step` makes the next belief from whole
    episodes, a graph of fixed size. The rest bounds it on a robot.

    counted: which of an episode's rewards make its return. episodes: of one step. horizon: T,
        control periods in the longest of them. step_sizes: (2 n_z),
        of the belief's mean, then of its log standard deviation.
    max_kl: of the new belief from the old [nat]. max_norm: of the belief's mean from the prior's,
        in the prior's standard deviations. log_std_low, log_std_high: of the belief's log standard
        deviation less the prior's. max_reward: magnitude that no honest measurement exceeds.
    """

    counted: Literal["every", "last"]
    episodes: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    horizon: Annotated[int, msgspec.Meta(ge=2, le=100_000)]
    step_sizes: list[Positive]
    max_kl: Positive
    max_norm: Positive
    log_std_low: Finite
    log_std_high: Finite
    max_reward: Positive

    @property
    def furthest(self) -> float | None:
        return self.max_norm

    @property
    def widest(self) -> float:
        return math.exp(2.0 * self.log_std_high)

    def draws(self, hold: int) -> int:
        """Latents drawn in an episode of the step's horizon, each held for `hold` periods."""
        return math.ceil(self.horizon / hold) if hold else 1

    def graphs(self, manifest: Manifest) -> dict[str, GraphSignature]:
        n_z, steps = manifest.latent.size, self.episodes * self.horizon
        belief = {"mean": n_z, "log_std": n_z}
        taken = {
            **belief,
            "step_sizes": 2 * n_z,
            "latent": self.episodes * self.draws(manifest.latent.hold) * n_z,
            "observation": steps * manifest.observation_size,
            "reward": steps,
            "mask": steps,
        }
        made = {f"new_{name}": width for name, width in belief.items()}
        return {"latent_step": GraphSignature(taken, made)}

    def problems(self, manifest: Manifest) -> list[str]:
        problems, expected = super().problems(manifest), 2 * manifest.latent.size
        if len(self.step_sizes) != expected:
            problems.append(
                f"algorithm.step_sizes has {len(self.step_sizes)} numbers; expected {expected}, "
                "two for each dimension of the latent"
            )
        if not self.log_std_low < 0.0 < self.log_std_high:
            problems.append(
                f"algorithm.log_std_low {self.log_std_low} and log_std_high {self.log_std_high} "
                "must lie on either side of 0, where the prior is"
            )
        return problems


OURS: tuple[type[Variant], ...] = (NoAdaptation, Gaussian, Mixture, Recurrent, Stepped)
GROUP = "acclimate.adapters"


def strangers() -> dict[str, EntryPoint]:
    """Entry points of other packages' adapters by kind; each names a class with a `variant`."""
    return {point.name: point for point in entry_points(group=GROUP)}


def variant(kind: str) -> type[Algorithm]:
    """The struct of a manifest's algorithm block of that kind. Raises BundleError."""
    ours = {str(each.__struct_config__.tag): each for each in OURS}
    if kind in ours:
        return ours[kind]
    others = strangers()
    if kind not in others:
        raise BundleError(f"no algorithm {kind!r}; there are {', '.join([*ours, *others])}")
    return others[kind].load().variant
