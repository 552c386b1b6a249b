"""Prompts over time: their notation, and a text embedding for every frame."""
