"""Coverage-guided fuzzing of the frames that the bridge reads from unknown peers: `make fuzz`."""
