"""Metrics for generated videos: FVD, KVD, PIC, each with the protocol it was measured by.

Files: `distances` (the formulas), `features` (extractors and their preprocessing), `conformity`
(PIC), `protocol` (what a figure means), `videos` (folders of clips), `compare` (folder against
folder, resumable). Published figures for "the same" measure differ by a factor of two with clips,
stride and extractor, so no figure is printed without its protocol.
"""
