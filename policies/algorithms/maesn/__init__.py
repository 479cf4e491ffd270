"""MAESN (Gupta et al. 2018, arXiv 1802.07245)."""

from policies.algorithms.contract import Algorithm
from policies.algorithms.maesn.config import MaesnSettings
from policies.algorithms.maesn.learner import MaesnLearner

ALGORITHM = Algorithm(MaesnSettings, MaesnLearner)
