"""Adaptation trials: running, storing, measuring and reporting them."""

from adapt import caches as caches
