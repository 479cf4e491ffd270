"""The algorithms by name: what a run's settings are, and what trains by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapt.errors import AcclimateError
from adapt.settings import Choice, compose
from policies.algorithms.maesn.trainer import MaesnSettings, MaesnTrainer
from policies.training.settings import TrainSettings
from policies.training.trainer import Trainer

AnySettings = TrainSettings | MaesnSettings
AnyTrainer = Trainer | MaesnTrainer
SETTINGS: dict[str, type[AnySettings]] = {"pearl": TrainSettings, "maesn": MaesnSettings}


CHOICE = Choice("algorithm", SETTINGS)


def train_settings(words: Sequence[str], help: str = "") -> AnySettings:
    """The settings that `acclimate train` takes from the words of a command line."""
    return compose("train", CHOICE, words, help)


def settings_type(values: object) -> type[AnySettings]:
    """The settings' type by their key `algorithm`; runs older than that key are PEARL's."""
    name = values.get("algorithm", "pearl") if isinstance(values, Mapping) else "pearl"
    if name not in SETTINGS:
        raise AcclimateError(f"algorithm {name!r}; there are {', '.join(SETTINGS)}")
    return SETTINGS[name]


def make_trainer(settings: AnySettings) -> AnyTrainer:
    if isinstance(settings, MaesnSettings):
        return MaesnTrainer(settings)
    return Trainer(settings)
