"""The procedural world: scenes, their pictures, captions and clips."""
