"""Research that the pack does not need to run."""
