"""PEARL (Rakelly et al. 2019, arXiv 1903.08254), as published and with a grounded latent."""

from policies.algorithms.contract import Algorithm
from policies.algorithms.pearl.config import PearlSettings
from policies.algorithms.pearl.learner import PearlLearner

ALGORITHM = Algorithm(PearlSettings, PearlLearner)
