"""Adaptation trials: running, storing, measuring and reporting them."""
