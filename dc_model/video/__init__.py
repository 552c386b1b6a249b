"""Finished videos: joining them, and keeping their colors."""
