"""Adapters: what each algorithm does on the robot."""
