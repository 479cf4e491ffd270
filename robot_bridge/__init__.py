"""What carries, times and protects: the daemon, its clients, trials and reports."""
