"""Training of the DynamiCrafter family over `dc_model`. The node pack never imports this package.

`python -m training.train CONFIG` runs one stage. See docs/training.md.
"""
