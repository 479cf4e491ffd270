"""The legs: their model as the robot hangs by its trunk, and what it carries when it stands."""
