"""Checkpoint files: what is in one, whether it is safe, which relative it is, and its parts."""
