"""Former path of `sim.core.worlds`, valid for one release."""

from sim.core.worlds import *  # noqa: F403
