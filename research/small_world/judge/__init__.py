"""Judges a demo checkpoint through the real ComfyUI server, as a user would run it.

pairs.py chooses held-out pictures and prompts; server.py runs them with the shipped workflows;
tracker.py and shapes.py look at the frames without knowing the prompt; measures.py compares
that with the prompt; figures.py makes shares and means with intervals of it; report.py a table.

Nothing here is used in training, and nothing here uses what training uses to look at clips.
"""
