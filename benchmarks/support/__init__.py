"""What several benchmarks share: clients, servers, schedules, records."""
