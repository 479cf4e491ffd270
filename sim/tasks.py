"""Former path of `sim.core.parameter` and `sim.core.task_space`, valid for one release."""

from sim.core.parameter import *  # noqa: F403
from sim.core.task_space import *  # noqa: F403
