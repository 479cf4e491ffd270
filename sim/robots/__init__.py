"""Robot models and their controllers."""
