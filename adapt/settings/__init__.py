"""Settings of every command: `key=value` words, composed once into a frozen dataclass.

A setting is written once, as a field of a dataclass beside the code that it configures: its type
with bounds, its default, and in the docstring one entry `key: what it means`. From there come the
checks, the messages and the page that `--help` prints.
"""

from adapt.settings.bounds import Count, Fraction, NonNegative, Positive, WholeNumber, Widths
from adapt.settings.composition import SettingsError, checked, compose, composing, flat, resolved
from adapt.settings.schema import Choice
from adapt.settings.verbs import Verb, run_verb

__all__ = [
    "Choice",
    "Count",
    "Fraction",
    "NonNegative",
    "Positive",
    "SettingsError",
    "Verb",
    "WholeNumber",
    "Widths",
    "checked",
    "compose",
    "composing",
    "flat",
    "resolved",
    "run_verb",
]
