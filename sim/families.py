"""Former path of `sim.core.family` and `sim.core.registry`, valid for one release."""

from sim.core.family import *  # noqa: F403
from sim.core.registry import *  # noqa: F403
