"""The operating system's side of the bridge: time, scheduling, signals, logs."""
