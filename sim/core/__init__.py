"""What every task family is built of: task spaces, batched worlds, the registry."""

from sim.core.family import Family
from sim.core.parameter import Parameter
from sim.core.registry import family
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Step, Worlds, WorldSpec, check_action

__all__ = [
    "Family",
    "Parameter",
    "Step",
    "Task",
    "TaskSpace",
    "WorldSpec",
    "Worlds",
    "check_action",
    "family",
]
