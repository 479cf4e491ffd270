"""Former path of `sim.core.task_space`, valid for one release."""

from sim.core.task_space import *  # noqa: F403
