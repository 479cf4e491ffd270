"""Guarded touches: the limits that hold, the motion, and the pose that they tell."""
