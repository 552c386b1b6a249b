"""Whether the camera moves as asked, measured by optical flow.

The grounds are plain or linear, so the flow is the object's: its outline is all that has a
gradient. There the video's flow is compared with the one asked for, along the gradients, as far as
a flow can be seen.
"""

import logging
from itertools import cycle, islice

import numpy as np
import torch

from dc_model.motion.camera import camera_path, move_camera
from dc_model.motion.clocks import Clocks, Reference
from dc_model.motion.warp import grown
from dc_model.pipeline import Pipeline

from ..judge.pairs import held_out, is_near_middle
from ..judge.shapes import load_classifier, shapes_of
from ..world.render import object_mask, render_frame
from ..world.scenes import NUM_FRAMES, SIZE, Scene
from .flow import Move, along, gradients, moves_of, points_of
from .scenes import (
    Figures,
    batches,
    decoded,
    make_videos,
    note,
    picture_of,
    reference_of,
)

log = logging.getLogger(__name__)

SAME = 0.15  # How far a camera's move may be off, as a share of what was asked.
# Amounts: pans and orbits by a fifth of the picture, zooms by 1.32, rolls by 30 degrees.
MOVES = {
    **dict.fromkeys(("pan_left", "pan_right", "pan_up", "pan_down"), 0.2),
    **dict.fromkeys(("zoom_in", "zoom_out"), 0.4),
    **dict.fromkeys(("roll_left", "roll_right"), 1 / 3),
    **dict.fromkeys(("orbit_left", "orbit_right"), 0.4),
}
# A roll does not show on them.
ROUND = ("circle", "ring")


def scenes_of(count: int, first: int = 0) -> list[tuple[str, Scene]]:
    """Moves in turn, each with the next scene whose object is in the middle and shows all moves."""
    shown = (
        scene
        for scene in held_out(first + 10 * count)[first:]
        if is_near_middle(scene) and scene.shape not in ROUND
    )
    return list(zip(islice(cycle(MOVES), count), shown, strict=False))


def asked_moves(move: str) -> list[Move]:
    """What the camera's path comes to for the object's points, frame by frame."""
    found = []
    for x, y, zoom, roll, orbit in camera_path(move, MOVES[move], NUM_FRAMES).tolist():
        # A near object goes against an orbit by half of it.
        shift = -SIZE * complex(x * zoom + orbit / 2, y * zoom)
        found.append(Move(shift, zoom * np.exp(-1j * np.radians(roll))))
    return found


def compare(found: list[Move], asked: list[Move], picture: np.ndarray) -> tuple[float, float]:
    """The flow found as a share of the one asked, and how far the two are apart, as a share, too.

    Over all frames and pixels of `picture` `[H, W, 3]`, along its gradients and by their squares.
    """
    points, slopes = points_of(*picture.shape[:2]), gradients(picture)
    both, wanted, apart = 0.0, 0.0, 0.0
    for one, other in zip(found, asked, strict=True):
        seen, right = (along(slopes, move.seen(points) - points) for move in (one, other))
        both += float((seen * right).sum())
        wanted += float(np.square(right).sum())
        apart += float(np.square(seen - right).sum())
    return both / wanted, float(np.sqrt(apart / wanted))


def judge(pipeline: Pipeline, clocks: Clocks, count: int, first: int = 0) -> Figures:
    """Shares of the flow that was asked for, over all moves and by kind of move.

    share, apart: as of `compare`; vae: the share that the reference has by the VAE alone. kind: the
    share of frames with the object's kind, which the classifier knows upright.
    """
    classifier, found, pairs = load_classifier(), Figures(), scenes_of(count, first)
    for part in batches(count):
        references = [_reference(pipeline, *pair, clocks) for pair in pairs[part]]
        scenes = [scene for _, scene in pairs[part]]
        videos = make_videos(pipeline, scenes, references, part.start)
        rough = [decoded(pipeline, reference.latents)[0] for reference in references]
        for (move, scene), video, alone in zip(pairs[part], videos, rough, strict=True):
            picture, asked = picture_of(scene), asked_moves(move)
            share, apart = compare(moves_of(video, picture), asked, picture)
            vae, _ = compare(moves_of(alone, picture), asked, picture)
            kinds = [kind == scene.shape for kind in shapes_of(classifier, video)]
            values = {"share": share, "apart": apart, "vae": vae, "kind": float(np.mean(kinds))}
            values["within 15 %"] = abs(share - 1) <= SAME
            for group in ("all", move.partition("_")[0]):
                note(found, **{f"{group}, {name}": value for name, value in values.items()})
            log.info("%s, %s: share %.3f, vae %.3f", move, scene.caption, share, vae)
    return found


def _reference(pipeline: Pipeline, move: str, scene: Scene, clocks: Clocks) -> Reference:
    picture = torch.from_numpy(render_frame(scene, 0.0))
    near = grown(torch.from_numpy(object_mask(scene, 0.0)), 2).ceil()
    cameras = camera_path(move, MOVES[move], NUM_FRAMES)
    return reference_of(pipeline, *move_camera(picture, cameras, near), clocks)
