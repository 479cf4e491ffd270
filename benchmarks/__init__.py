"""The command behind every number in the docs, and the page made from what they recorded."""

import policies  # noqa: F401  # OpenMP's settings, before any benchmark imports torch
