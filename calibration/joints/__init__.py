"""Position-controlled joints that move freely: what excites them, and how they are identified."""
