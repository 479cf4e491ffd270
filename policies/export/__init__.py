"""Export of a run as a bundle."""
