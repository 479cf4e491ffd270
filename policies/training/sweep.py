"""Many runs from one command line: Hydra's multirun, whose sweeper and launcher do the work.

The sweep's syntax, its order and what may replace the sweeper are Hydra's. What is added: each job
has a run folder of its own, one that fails does not cost the others, and the end says how all did.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from adapt.errors import AcclimateError
from adapt.settings import SettingsError, checked, composing
from adapt.settings.composition import config_groups, known, parsed, register
from adapt.settings.words import quoted, suggestion
from policies.algorithms.registry import choice, train_settings
from policies.training.settings import TrainSettings

COMMAND = "train"
FLAGS = ("-m", "--multirun")
IN_NAME = ("experiment", "name", "seed")
"""Keys that `out` holds already."""


@dataclass(frozen=True)
class Outcome:
    """How one job ended: score is what the sweeper was told, error what went wrong, if anything."""

    job: str
    score: float
    error: str = ""


def sweep(argv: Sequence[str], train: Callable[[TrainSettings], float]) -> int:
    """Run every job that Hydra's sweeper makes of `argv`; 0 where all succeed, else 1.

    train: one run, to its end; returns what a sweeper that searches is to make large or small.

    Raises SettingsError, before any run, for settings that cannot be composed, each value of a
    sweep included.
    """
    settings, groups = known(choice()), config_groups(choice())
    words = [_readable(word) for word in argv if word not in FLAGS]
    for override in parsed(words):
        key = override.key_or_group
        if "/" not in key and not key.startswith("hydra.") and key not in {*groups, *settings}:
            raise SettingsError(f"no setting {key!r}{suggestion(key, settings)}")
    fixed = {o.get_key_element() for o in parsed(words) if not o.is_sweep_override()}
    _check_values(words)
    outcomes: list[Outcome] = []

    def job(config: DictConfig) -> float:
        overrides = parsed(HydraConfig.get().overrides.task)
        swept = [o for o in overrides if o.get_key_element() not in fixed]
        name = " ".join(f"{o.key_or_group}={o.get_value_element_as_str()}" for o in swept)
        try:
            settings = _settings(config, swept)
            name = str(settings.out)
            score = train(settings)
        except Exception as error:
            if not isinstance(error, AcclimateError):
                traceback.print_exc()
            outcomes.append(Outcome(name, float("nan"), str(error) or type(error).__name__))
            raise
        outcomes.append(Outcome(name, score))
        return score

    try:
        register(choice())
        with composing(), initialize_config_module("configs", version_base="1.3", job_name="sweep"):
            hydra = GlobalHydra.instance().hydra
            if hydra is None:  # never within that context; Hydra's type cannot say so
                raise RuntimeError("Hydra is not initialised")
            hydra.multirun(COMMAND, job, words)
    except Exception as error:
        # The sweeper raises a job's error again once its batch has ended: that one has been told.
        if not any(outcome.error for outcome in outcomes):
            raise _with_advice(error) from error
    return _report(outcomes)


def _check_values(words: Sequence[str]) -> None:
    """Compose each value that is swept over, with the first value of every other key: a mistake in
    the last job is told before the first one has trained. Raises SettingsError naming all."""
    # A sweeper's own settings are checked by Hydra; an interval's values are chosen by a sweeper.
    ours = [o for o in parsed(words) if not o.key_or_group.startswith("hydra")]
    values = {
        o.get_key_element(): (
            list(o.sweep_string_iterator())
            if o.is_sweep_override()
            else [o.get_value_element_as_str()]
        )
        for o in ours
        if not o.is_interval_sweep()
    }
    first = {key: each[0] for key, each in values.items()}
    problems: dict[str, None] = {}
    for swept, each in values.items():
        for value in each if len(each) > 1 else ():
            job = first | {swept: value}
            try:
                train_settings([f"{key}={word}" for key, word in job.items()])
            except SettingsError as error:
                problems[str(error)] = None
    if problems:
        raise SettingsError("; ".join(problems))


def _readable(word: str) -> str:
    """The word, its value in quotes where Hydra cannot read it otherwise: commas and brackets that
    it can read are values to sweep over."""
    key, equals, value = word.partition("=")
    try:
        parsed([word])
    except SettingsError:
        return f"{key}{equals}{quoted(value, known(choice()).get(key))}"
    return word


def _settings(config: DictConfig, swept: Sequence[Override]) -> TrainSettings:
    """A job's settings. Where more than the seed was swept, the folder's name says what."""
    with composing():
        values: Any = OmegaConf.to_container(config, resolve=True)
    # Letters that neither a shell nor Hydra's grammar takes for something else.
    words = [
        re.sub(r"[^\w.+-]+", "_", f"{o.key_or_group}={o.get_value_element_as_str()}").strip("_")
        for o in swept
        if o.key_or_group not in IN_NAME
    ]
    given = [str(word).partition("=")[0] for word in HydraConfig.get().overrides.task]
    if words and "out" not in given:
        folder = "-".join([str(values["name"]), *words, str(values["seed"])])
        values["out"] = str(Path(values["out"]).with_name(folder))
    return checked(values, choice())


def _with_advice(error: Exception) -> Exception:
    if isinstance(error, SettingsError) and "hydra/sweeper/optuna" in str(error):
        return SettingsError(
            f"{error}\nOptuna comes with: pip install '.[sweep]' in Acclimate's repository"
        )
    return error


def _report(outcomes: Sequence[Outcome]) -> int:
    failed = [outcome for outcome in outcomes if outcome.error]
    print(f"\n{len(outcomes)} runs, {len(failed)} failed")
    for each in outcomes:
        told = f"failed: {each.error}" if each.error else f"best validation {each.score:.4g}"
        print(f"  {each.job}  {told}")
    return 1 if failed else 0
