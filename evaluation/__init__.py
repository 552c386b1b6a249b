"""Measures image-to-video systems by one protocol, and folders of videos by FVD, KVD and PIC.

A comparison is data: a file names a protocol and systems (`comparison`, `protocol`, `systems`).
True clips are cut from the data set once (`items`). Each system makes a clip for each (`making`),
whole files only: a run may break off, continue and share its folder. Clips give measures and
features (`measures`, `figures`), these give figures with intervals and differences (`intervals`),
and those one JSON file and one HTML page (`results`, `report`, `charts`). `python -m evaluation`
runs it all: docs/evaluation.md.

`compare`, `conformity` and `checkpoint` are smaller commands: folder against folder, videos against
their pictures, one checkpoint. The formulas and the preprocessing are `dc_model.metrics`, which the
nodes use as well.
"""
