"""Coverage-guided fuzzing of what the bridge reads from strangers: `make fuzz`."""
