"""What measures; it may import sim, and nothing lives here yet."""
