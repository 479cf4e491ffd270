"""The command behind every number in the docs, and the page made from what they recorded."""
