"""Trains the demo model and the networks around it."""
