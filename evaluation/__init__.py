"""Measures folders of videos and checkpoints: FVD, KVD and PIC, each with its protocol.

The formulas and the preprocessing are `dc_model`'s (`feature_distance`, `video_features`,
`conformity`, `protocol`), which the nodes use as well. Here: `compare` (folder against folder),
`conformity` (videos against their input images), `checkpoint` (a checkpoint in the paper's
protocols), and what they need: `datasets`, `published`, `videos`, `store`, `command`.
"""
