"""What the bridge asks of the operating system: time, scheduling, signals, logs."""
