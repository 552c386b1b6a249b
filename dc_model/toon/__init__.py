"""ToonCrafter: the decoder with two reference frames, and the sketch ControlNet."""
