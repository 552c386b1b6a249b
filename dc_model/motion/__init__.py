"""Motion that is shown, not told: rough reference videos, and sampling that follows them.

`path` reads where something goes, `drag` moves a cut-out along it and `camera` moves the camera;
both make a reference video and the mask of what it knows. `clocks` says until when each place of
the video is held to the reference. `dial` is the one number for how much moves.
Source: docs/motion.md.
"""
