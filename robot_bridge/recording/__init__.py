"""Recordings of every step (MCAP): writing, reading, replaying."""
