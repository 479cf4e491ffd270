"""What learns: meta-reinforcement learning, evaluation, export."""
