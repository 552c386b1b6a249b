"""What each sampled clip shows, as one row of numbers.

Motion is the judge's tracker's verdict on the clip's own object and ground, so it is asked alike
of clips that know the picture and of clips that do not. The rest is measured against the picture.
"""

import numpy as np

from ..judge.measures import BOX, nearest_colour, psnr
from ..judge.shapes import VISIBLE, ShapeClassifier, shapes_of, visible_share
from ..judge.tracker import Trail, change, follow, motion_of
from ..world.render import object_mask, render_frame
from ..world.scenes import Scene
from .trials import Trial

# In the order of a row. Shares are 0 or 1 for a clip, but colour's and shape's: those are over
# frames. The first two runs had no "shape".
ENDPOINTS = ("direction", "distance", "kind", "picture", "nearest", "colour", "shape")


def figures(
    videos: np.ndarray, scenes: list[Scene], trial: Trial, classifier: ShapeClassifier
) -> list[list[float]]:
    """A row of ENDPOINTS for each of `videos` `[N, T, 3, H, W]` uint8, of `scenes` in order."""
    return [
        _row(video.transpose(0, 2, 3, 1) / 255.0, scene, trial, classifier)
        for video, scene in zip(videos, scenes, strict=True)
    ]


def _row(video: np.ndarray, scene: Scene, trial: Trial, classifier: ShapeClassifier) -> list[float]:
    prompted = trial.prompted(scene)
    trail = follow(video, video[0])
    visible = _visible(prompted, len(video))
    rights = [kind == scene.shape for kind in shapes_of(classifier, video[visible])]
    at_frame = picture_kept(video, scene, trial.frame)
    colours = [nearest_colour(colour) == scene.colour for colour in trail.colour]
    row = (
        motion_of(trail) == prompted.motion,
        share_made(trail, prompted, len(video)),
        rights[-1],
        at_frame[trial.frame],
        max(at_frame),
        np.mean(colours),
        np.mean(rights),
    )
    return [round(float(value), 3) for value in row]


def _visible(scene: Scene, frames: int) -> list[int]:
    """The frames on which most of the object should be within the picture."""
    times = np.linspace(0, 1, frames)
    return [i for i, time in enumerate(times) if visible_share(scene, time) >= VISIBLE]


def picture_kept(video: np.ndarray, scene: Scene, frame: int) -> list[float]:
    """PSNR of every frame against the picture, the true frame `frame`, in its object's box."""
    progress = frame / (len(video) - 1)
    rows, columns = np.nonzero(object_mask(scene, progress) > 0.5)
    box = np.s_[
        max(0, rows.min() - BOX) : rows.max() + BOX + 1,
        max(0, columns.min() - BOX) : columns.max() + BOX + 1,
    ]
    picture = render_frame(scene, progress).transpose(1, 2, 0)
    return [psnr(made[box], picture[box]) for made in video]


def share_made(trail: Trail, prompted: Scene, frames: int) -> float:
    """Displacement along the prompted direction over the prompted one; 0 where nothing is seen."""
    # `change` looks from the first two to the last two frames.
    way = np.array(prompted.displacement) * (frames - 2) / (frames - 1)
    made = float(np.array(change(trail)[:2]) @ way / (way @ way))
    return made if np.isfinite(made) else 0.0
