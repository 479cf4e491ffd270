"""Former path of `sim.core.registry`, valid for one release."""

from sim.core.registry import *  # noqa: F403
