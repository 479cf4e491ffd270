"""One package for each algorithm."""
