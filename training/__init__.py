"""Training of the DynamiCrafter family over `dc_model`. The node pack never imports this package.

`python -m training.train CONFIG` runs one stage, `python -m training.small_world.chain` the whole
chain on the small procedural world. See docs/training.md.
"""
