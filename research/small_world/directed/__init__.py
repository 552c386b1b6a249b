"""Whether the demo model's motion goes where it is shown, against what the words say.

scenes.py chooses pictures and makes videos of them; drag.py, camera.py, hold.py and dial.py each
measure one thing; flow.py says how a camera moved between two pictures; chart.py draws the dial.
"""
