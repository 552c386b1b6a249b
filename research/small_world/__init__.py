"""A small procedural world of captioned clips, and small models that learn it on one CPU core."""
