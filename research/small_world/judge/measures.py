"""What is measured on one video, as plain values for JSON; true clips are measured alike."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..world.render import object_mask
from ..world.scenes import COLOURS, DIRECTIONS, NUM_FRAMES, SIZE, Scene
from .long_videos import CLIP_ENDS
from .pairs import LONG, Job, is_near_middle
from .shapes import VISIBLE, ShapeClassifier, shapes_of, visible_share
from .tracker import Trail, change, follow, motion_of

# While less than this share of the first object is in view, its colour is not asked for.
ENOUGH = 0.2
BOX = 3  # Pixels around the object that count as its box.
# In RGB, 0 to 1; a colour further from all names has no name. The nearest two are 0.55 apart.
SAME_COLOUR = 0.35

Record = dict[str, Any]


def measure(job: Job, video: np.ndarray, alone: np.ndarray, classifier: ShapeClassifier) -> Record:
    """Everything that is asked of the job's sort of video.

    video: `[T, H, W, 3]`; alone: the job's pictures through the VAE alone, `[K, H, W, 3]`; 0 to 1.
    """
    pictures = [picture / 255.0 for picture in job.pictures]
    trail = follow(video, pictures[0])
    scene = job.scene
    record: Record = {
        "name": job.name,
        "caption": scene.caption,
        "shape": scene.shape,
        "colour": scene.colour,
        "prompted": scene.motion,
        "seen": motion_of(trail),
        "near_middle": is_near_middle(scene),
        "first": _against(video[0], alone[0], pictures[0]),
    }
    if job.workflow == "interpolate":
        record["last"] = _against(video[-1], alone[-1], pictures[-1])
    elif job.workflow == "loop":
        record |= _closing(video, trail)
    elif job.workflow in LONG:
        record |= _long(video, trail, classifier)
    else:
        record |= {
            "distance": _distance(trail, scene),
            "colours": _colours(trail, scene, len(video)),
            "drift": _drift(trail),
            "ground": float(trail.ground.mean()),
            "stray": float(trail.stray.max() / follow(pictures[0][None], pictures[0]).area[0]),
            "shapes": _shapes(video, scene, classifier),
            "outline": _outline(trail, scene),
        }
    return record


def _against(frame: np.ndarray, alone: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """PSNR of a frame and of the VAE alone against the picture; also around the object."""
    found = follow(picture[None], picture).edges[0]
    left, right, top, bottom = (int(v) for v in found)
    box = np.s_[max(0, top - BOX) : bottom + BOX + 1, max(0, left - BOX) : right + BOX + 1]
    return {
        "psnr": psnr(frame, picture),
        "vae": psnr(alone, picture),
        "box_psnr": psnr(frame[box], picture[box]),
        "box_vae": psnr(alone[box], picture[box]),
    }


def _distance(trail: Trail, scene: Scene) -> float | None:
    """How far the object went the prompted way, as a share of how far it was prompted to go.

    None for a change of size, and where it was prompted to leave the picture.
    """
    if scene.motion not in DIRECTIONS or visible_share(scene, 1.0) < VISIBLE:
        return None
    went = np.array(change(trail)[:2])
    # `change` looks from the first two to the last two frames.
    prompted = np.array(scene.displacement) * (NUM_FRAMES - 2) / (NUM_FRAMES - 1)
    share = float(went @ prompted / (prompted @ prompted))
    return share if np.isfinite(share) else 0.0


def _colours(trail: Trail, scene: Scene, frames: int) -> list[str]:
    """The nearest colour's name for each frame where the object should be in view, or "none"."""
    areas = [object_mask(scene, float(t)).sum() for t in np.linspace(0, 1, frames)]
    expected = [i for i, area in enumerate(areas) if area >= ENOUGH * areas[0]]
    return [nearest_colour(trail.colour[i]) for i in expected]


def nearest_colour(rgb: np.ndarray) -> str:
    """The name of the world's colour that an RGB in [0, 1] is, or "none"; none for NaN."""
    distances = {name: float(np.linalg.norm(rgb - value)) for name, value in COLOURS.items()}
    name = min(distances, key=lambda name: distances[name])
    return name if distances[name] < SAME_COLOUR else "none"


def _drift(trail: Trail) -> float | None:
    """Mean change of the colour's channels from the first three to the last three frames seen."""
    seen = trail.colour[trail.seen]
    if len(seen) < 6:
        return None
    return float(np.abs(seen[-3:].mean(axis=0) - seen[:3].mean(axis=0)).mean())


def _shapes(video: np.ndarray, scene: Scene, classifier: ShapeClassifier) -> dict[str, str | None]:
    """The shape on the first, middle and last frame; None where too little of it should be seen."""
    last = len(video) - 1
    numbers = {"first": 0, "middle": last // 2 + 1, "last": last}
    names = shapes_of(classifier, video[list(numbers.values())])
    return {
        place: name if visible_share(scene, number / last) >= VISIBLE else None
        for (place, number), name in zip(numbers.items(), names, strict=True)
    }


def _long(video: np.ndarray, trail: Trail, classifier: ShapeClassifier) -> dict[str, Any]:
    """Colour and shape to the end of each clip of a long video, whose object never leaves it."""
    return {
        "colours": [nearest_colour(colour) for colour in trail.colour],
        "drift": _drift(trail),
        "lasts": shapes_of(classifier, video[list(CLIP_ENDS)]),
    }


def _outline(trail: Trail, scene: Scene) -> float | None:
    """Mean IoU of the object and the true shape of its centre and area; None if never whole."""
    still = replace(scene, x=SIZE / 2, y=SIZE / 2)
    centre, area = _placed(object_mask(still, 0.0))
    overlaps = []
    for frame in trail.seen[~trail.on_border[trail.seen].any(axis=1)]:
        mask = trail.masks[frame]
        found, large = _placed(mask)
        zoom = (large / area) ** 0.5
        x, y = found - (centre - SIZE / 2) * zoom
        true = object_mask(replace(still, x=x, y=y, radius=scene.radius * zoom), 0.0) > 0.5
        overlaps.append((mask & true).sum() / (mask | true).sum())
    return float(np.mean(overlaps)) if overlaps else None


def _placed(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre of gravity (x, y) and area of a mask, in pixels."""
    axis, area = np.arange(SIZE) + 0.5, float(mask.sum())
    return np.array([(mask.sum(axis=0) * axis).sum(), (mask.sum(axis=1) * axis).sum()]) / area, area


def _closing(video: np.ndarray, trail: Trail) -> dict[str, float]:
    """The step from the last frame to the first beside the others (RMS), and how far it went."""
    steps = np.sqrt(((video[1:] - video[:-1]) ** 2).mean(axis=(1, 2, 3)))
    closing = np.sqrt(((video[0] - video[-1]) ** 2).mean())
    away = np.abs(trail.edges - trail.edges[0]).max(axis=1)
    return {
        "closing_step": float(closing),
        "median_step": float(np.median(steps)),
        "largest_step": float(steps.max()),
        "last_to_first": psnr(video[-1], video[0]),
        "reach": float(np.nanmax(away)) if np.isfinite(away).any() else 0.0,
    }


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return float(-10 * np.log10(max(float(((a - b) ** 2).mean()), 1e-10)))
