"""Whether a dragged object goes along its path, against the words, and stays what it is."""

import numpy as np
import torch
from torch import Tensor

from dc_model.motion.clocks import Clocks
from dc_model.motion.drag import drag
from dc_model.pipeline import Pipeline

from ..judge.pairs import held_out
from ..judge.shapes import load_classifier, shapes_of
from ..judge.tracker import follow
from ..world.render import object_mask, render_frame
from ..world.scenes import DIRECTIONS, NUM_FRAMES, OPPOSITE, SIZE, Scene
from .scenes import Figures, batches, make_videos, note, picture_of, reference_of

MARGIN = 13.0  # Pixels from the border at which a path ends.
FARTHEST = 22.0
NEAR = 4.0  # Pixels from the path that count as on it.


def contradicting(scene: Scene) -> tuple[float, float]:
    """A way (dx, dy) that the scene's words do not name, with the most room."""
    rooms = {
        "left": scene.x - MARGIN,
        "right": SIZE - MARGIN - scene.x,
        "up": scene.y - MARGIN,
        "down": SIZE - MARGIN - scene.y,
    }
    rooms.pop(scene.motion, None)
    opposite = OPPOSITE[scene.motion]
    way = max(rooms, key=lambda way: (rooms[way] >= FARTHEST and way == opposite, rooms[way]))
    length = float(np.clip(rooms[way], 0, FARTHEST))
    dx, dy = DIRECTIONS[way]
    return dx * length, dy * length


def path_of(scene: Scene) -> Tensor:
    """The contradicting path as poses `[T, 4]`."""
    dx, dy = contradicting(scene)
    steps = torch.linspace(0, 1, NUM_FRAMES)
    ones, zeros = torch.ones(NUM_FRAMES), torch.zeros(NUM_FRAMES)
    return torch.stack([scene.x + dx * steps, scene.y + dy * steps, ones, zeros], dim=1)


def judge(pipeline: Pipeline, clocks: Clocks, count: int, first: int = 0) -> Figures:
    """Shares of each video's frames: object on the path, kind kept; and the ground's distance."""
    classifier, found = load_classifier(), Figures()
    scenes = held_out(first + count)[first:]
    for part in batches(count):
        some, references = scenes[part], []
        for scene in some:
            picture = torch.from_numpy(render_frame(scene, 0.0))
            mask = torch.from_numpy(object_mask(scene, 0.0))
            dragged = drag(picture, mask, path_of(scene))
            references.append(reference_of(pipeline, *dragged, clocks))
        videos = make_videos(pipeline, some, references, first + part.start)
        for scene, video in zip(some, videos, strict=True):
            away, ground = distances(scene, video)
            kinds = [kind == scene.shape for kind in shapes_of(classifier, video)]
            on_path, kind = np.mean(away <= NEAR), np.mean(kinds)
            note(found, on_path=float(on_path), kind=float(kind))
            note(found, away=float(np.nanmean(away)), ground=ground)
    return found


def distances(scene: Scene, video: np.ndarray) -> tuple[np.ndarray, float]:
    """Pixels `[T]` from the object's middle to the path, and the ground's mean distance."""
    trail = follow(video, picture_of(scene))
    away = np.linalg.norm(trail.middle - _box_path(scene), axis=1)
    return away, float(trail.ground.mean())


def _box_path(scene: Scene) -> np.ndarray:
    """The middle of the object's box along the path `[T, 2]`; a triangle's is not its own."""
    picture, poses = picture_of(scene), path_of(scene)
    return follow(picture[None], picture).middle[0] + (poses[:, :2] - poses[:1, :2]).numpy()
