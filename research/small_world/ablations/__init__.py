"""The paper's questions, asked on the small world from one shared text-to-video base.

`python -m research.small_world.ablations --folder runs/questions` trains the base, then every
arm, samples clips from each, measures them and writes `results.json`; started again it continues
where it stopped. `python -m research.small_world.ablations.charts` draws the results.
"""
