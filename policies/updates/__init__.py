"""Gradient updates that several algorithms share."""
