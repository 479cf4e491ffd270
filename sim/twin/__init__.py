"""Simulated robots that speak the bridge's protocol."""
