"""MAESN (Gupta et al. 2018, arXiv 1802.07245)."""
