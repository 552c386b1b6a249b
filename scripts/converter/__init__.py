"""Workflows of other packs for the same models, rewritten for ours.

`packs` knows their nodes, `graph` reads and writes both of ComfyUI's layouts, `specimens` has our
nodes as the page saves them, `chains` puts ours in place of theirs.
"""
