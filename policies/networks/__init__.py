"""Networks and the belief in torch."""
