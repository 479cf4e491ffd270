"""What stands in for the world: tasks, batched simulation, simulated robots."""
