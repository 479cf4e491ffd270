"""Evaluation of trained runs and their comparison."""

from adapt import caches as caches
