"""The training loop, run folders, checkpoints, sweeps."""
