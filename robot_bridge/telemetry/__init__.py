"""What the bridge reports of itself: step records, metrics, Prometheus."""
