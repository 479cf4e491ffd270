"""Evaluation of trained runs and their comparison."""
