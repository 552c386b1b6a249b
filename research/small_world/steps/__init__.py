"""What fewer steps cost: settings of 8 to 25 steps beside the 50 of the paper, on one noise.

settings.py lists them and puts one into a prompt; __main__.py runs them on the real ComfyUI server;
table.py compares the videos with those of 50 steps and asks the judge about them.
"""
