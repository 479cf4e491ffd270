"""Calibration: from recordings of a robot to a distribution of what it is like."""

import sim  # noqa: F401  before mujoco: it keeps mujoco from opening a window
