"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

from policies.algorithms.contract import Algorithm
from policies.algorithms.ppo.config import PpoSettings
from policies.algorithms.ppo.learner import PpoLearner

ALGORITHM = Algorithm(PpoSettings, PpoLearner)
