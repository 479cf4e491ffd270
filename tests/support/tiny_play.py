"""What the adapters' tests share: made-up experience for a tiny bundle, and ways to compare."""

import numpy as np

from adapt.adapters.base import Action, Adapter, Transition

N_O, N_A, N_Z, CAPACITY = 6, 3, 2, 8


def transitions(count: int, seed: int = 0) -> list[Transition]:
    rng = np.random.default_rng(seed)

    def draw(size: int) -> np.ndarray:
        return rng.uniform(-1, 1, size).astype(np.float32)

    return [Transition(draw(N_O), draw(N_A), float(rng.normal()), draw(N_O)) for _ in range(count)]


def features(transition: Transition) -> np.ndarray:
    reward = np.array([transition.reward], np.float32)
    parts = (transition.observation, transition.action, reward, transition.next_observation)
    return np.concatenate(parts)


def observation(value: float = 0.5) -> np.ndarray:
    return np.full(N_O, value, np.float32)


def state(adapter: Adapter) -> bytes:
    """Everything the adapter knows, for `nothing changed`."""
    return adapter.snapshot()


def assert_same_action(one: Action, other: Action) -> None:
    for name in ("normalised", "physical", "latent"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def play(adapter: Adapter, stochastic: bool = False) -> list[bytes]:
    """Three episodes of ten periods; every answer and belief as bytes."""
    out = []
    for episode in range(3):
        adapter.begin_episode()
        for transition in transitions(10, seed=episode):
            action = adapter.act(transition.observation, stochastic)
            belief = adapter.observe(transition)
            out += [action.normalised.tobytes(), action.latent.tobytes(), belief.mean.tobytes()]
        adapter.end_episode()
    return out
