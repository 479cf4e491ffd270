"""What drivers of real robots and their simulated twins share."""
