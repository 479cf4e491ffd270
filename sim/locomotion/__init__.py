"""The locomotion family: a quadruped on ground that it cannot see, with a body it does not know."""
