"""Stepping worlds with a policy: collection and adaptation trials."""
