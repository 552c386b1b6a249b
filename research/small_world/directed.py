"""Whether the demo model's motion goes where it is shown, against what the words say.

`python -m research.small_world.directed drag --tokenizer ComfyUI/comfy/sd1_tokenizer`

Measures `drag`, `camera`, `hold` or `dial` and logs the figures of docs/motion.md#measured.
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dc_model import vdg
from dc_model.motion.camera import camera_path, move_camera
from dc_model.motion.clocks import ALL, Clocks, Reference, release_timesteps
from dc_model.motion.dial import amount
from dc_model.motion.drag import drag
from dc_model.motion.warp import grown
from dc_model.pipeline import Pipeline, Settings, load

from .intervals import mean_interval
from .judge.pairs import held_out, is_near_middle
from .judge.shapes import load_classifier, shapes_of
from .judge.tracker import change, follow
from .world.render import object_mask, render_frame
from .world.scenes import DIRECTIONS, NUM_FRAMES, OPPOSITE, SIZE, Scene

log = logging.getLogger(__name__)

CHECKPOINT = Path(__file__).parents[2] / "assets" / "demo" / "small_world.safetensors"
MARGIN = 13.0  # Pixels from the border at which a path ends.
FARTHEST = 22.0
NEAR = 4.0  # Pixels from the path that count as on it.
SAME = 0.15  # How far a camera's move may be off, as a share of what was asked.
BATCH = 5
FPS = 8
# The spatial transformers at half of the latent's size, of 7.
MIDDLE, LAYERS = (1, 2, 3, 4), 7
MOVES = {"pan_left": 0.2, "pan_right": 0.2, "pan_up": 0.2, "pan_down": 0.2} | {
    "zoom_in": 0.4,
    "zoom_out": 0.4,
}

Figures = dict[str, list[float]]


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


def reference_of(
    pipeline: Pipeline, video: Tensor, masks: Tensor, clocks: Clocks, free: Tensor | None = None
) -> Reference:
    """A rough video `[T, 3, H, W]` in [0, 1] and its masks `[T, H, W]`, to be followed.

    free: where it may change, `[T, H, W]`.
    """
    latents = pipeline.encode(video * 2 - 1).transpose(0, 1)[None]  # [1, 4, T, h, w]

    def small(given: Tensor) -> Tensor:
        area = F.interpolate(given[:, None], latents.shape[-2:], mode="area")
        return area.transpose(0, 1)[None]

    may_move = None if free is None else small(free)
    return Reference(latents, release_timesteps(clocks, small(masks), may_move))


def picture_of(scene: Scene) -> np.ndarray:
    """`[H, W, 3]` in [0, 1]."""
    return render_frame(scene, 0.0).transpose(1, 2, 0)


def make_videos(
    pipeline: Pipeline, scenes: list[Scene], references: list[Reference], seed: int, fps: int = FPS
) -> np.ndarray:
    """Videos `[B, T, H, W, 3]` in [0, 1] of one batch, by the demo's settings."""
    pictures = torch.from_numpy(np.stack([render_frame(s, 0.0) for s in scenes])) * 2 - 1
    joined = None
    if references:
        parts = zip(*((r.latents, r.release) for r in references), strict=True)
        joined = Reference(*(torch.cat(part) for part in parts))
    found = pipeline.sample(
        vdg.animate(pipeline.encode(pictures), NUM_FRAMES),
        [scene.caption for scene in scenes],
        pictures,
        Settings(steps=25, cfg=2.0, speed=fps),
        generator=torch.Generator().manual_seed(seed),
        reference=joined,
    )
    return ((pipeline.decode(found) + 1) / 2).permute(0, 2, 3, 4, 1).numpy()


def batches(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def judge_drag(pipeline: Pipeline, clocks: Clocks, count: int) -> Figures:
    """Shares of each video's frames: object on the path, kind kept; and the ground's distance."""
    classifier, found = load_classifier(), Figures()
    scenes = held_out(count)
    for part in batches(count, BATCH):
        some, references = scenes[part], []
        for scene in some:
            picture = torch.from_numpy(render_frame(scene, 0.0))
            mask = torch.from_numpy(object_mask(scene, 0.0))
            dragged = drag(picture, mask, path_of(scene))
            references.append(reference_of(pipeline, *dragged, clocks))
        videos = make_videos(pipeline, some, references, part.start)
        for scene, video in zip(some, videos, strict=True):
            trail = follow(video, picture_of(scene))
            away = np.linalg.norm(trail.middle - _box_path(scene), axis=1)
            kinds = [kind == scene.shape for kind in shapes_of(classifier, video)]
            _note(found, on_path=float(np.mean(away <= NEAR)), kind=float(np.mean(kinds)))
            _note(found, away=np.nanmean(away), ground=trail.ground.mean())
    return found


def _box_path(scene: Scene) -> np.ndarray:
    """The middle of the object's box along the path `[T, 2]`; a triangle's is not its own."""
    picture, poses = picture_of(scene), path_of(scene)
    return follow(picture[None], picture).middle[0] + (poses[:, :2] - poses[:1, :2]).numpy()


def judge_camera(pipeline: Pipeline, clocks: Clocks, count: int) -> Figures:
    """What the object's move or change of size is, as a share of what the camera asks for."""
    classifier, found = load_classifier(), Figures()
    scenes = [scene for scene in held_out(5 * count) if is_near_middle(scene)][:count]
    moves = [list(MOVES.items())[i % len(MOVES)] for i in range(count)]
    for part in batches(count, len(MOVES)):
        references, asked = [], []
        for scene, (move, far) in zip(scenes[part], moves[part], strict=True):
            picture = torch.from_numpy(render_frame(scene, 0.0))
            video, known = move_camera(picture, camera_path(move, far, NUM_FRAMES))
            references.append(reference_of(pipeline, video, known, clocks))
            asked.append(change(follow(video.permute(0, 2, 3, 1).numpy(), picture_of(scene))))
        videos = make_videos(pipeline, scenes[part], references, part.start)
        for scene, video, wanted, (move, _) in zip(
            scenes[part], videos, asked, moves[part], strict=True
        ):
            got = change(follow(video, picture_of(scene)))
            axes = slice(2, 3) if move.startswith("zoom") else slice(0, 2)
            a, b = np.array(wanted[axes]), np.array(got[axes])
            share = float(a @ b / (a @ a))
            kinds = [kind == scene.shape for kind in shapes_of(classifier, video)]
            _note(found, share=share, within=abs(share - 1) <= SAME, kind=float(np.mean(kinds)))
    return found


def judge_hold(pipeline: Pipeline, _clocks: Clocks, count: int) -> Figures:
    """PSNR of what may not move in the worst frame, made and of the true clip by the VAE alone.

    The object's way may move. Pixels near it are not counted: the VAE mixes neighbours.
    """
    scenes, found = held_out(count), Figures()
    everywhere = torch.ones(NUM_FRAMES, SIZE, SIZE)
    for part in batches(count, BATCH):
        pictures = torch.from_numpy(np.stack([render_frame(s, 0.0) for s in scenes[part]]))
        ways = torch.stack([_way(scene) for scene in scenes[part]])
        references = [
            reference_of(
                pipeline,
                picture.expand(NUM_FRAMES, -1, -1, -1),
                everywhere,
                Clocks(ALL, ALL),
                way.expand(NUM_FRAMES, -1, -1),
            )
            for picture, way in zip(pictures, ways, strict=True)
        ]
        videos = make_videos(pipeline, scenes[part], references, part.start)
        for scene, picture, way, video in zip(scenes[part], pictures, ways, videos, strict=True):
            still = grown(way, 16).numpy() == 0
            if not still.any():
                continue
            true = picture.permute(1, 2, 0).numpy()[still]
            made, own = (
                min(_psnr(frame[still], true) for frame in frames)
                for frames in (video, _by_the_vae(pipeline, scene))
            )
            _note(found, psnr=made, vae=own, lost=own - made)
    return found


def _way(scene: Scene) -> Tensor:
    """Where the object is in any frame, and a margin around it: `[H, W]`."""
    times = np.linspace(0, 1, NUM_FRAMES)
    masks = torch.from_numpy(np.stack([object_mask(scene, float(time)) for time in times]))
    return grown(masks.amax(dim=0), 4)


def _by_the_vae(pipeline: Pipeline, scene: Scene) -> np.ndarray:
    """The scene's true frames, encoded and decoded: `[T, H, W, 3]`."""
    times = np.linspace(0, 1, NUM_FRAMES)
    frames = torch.from_numpy(np.stack([render_frame(scene, float(time)) for time in times]))
    decoded = pipeline.decode(pipeline.encode(frames * 2 - 1)[:, :, None])[:, :, 0]
    return ((decoded + 1) / 2).permute(0, 2, 3, 1).numpy()


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(one - other, dtype=np.float64)) + 1e-12))


def judge_dial(pipeline: Pipeline, _clocks: Clocks, count: int) -> Figures:
    """Pixels that objects go, by position and means of the dial."""
    known = [s for s in held_out(12 * count) if s.motion in DIRECTIONS and is_near_middle(s)]
    found, scenes = Figures(), known[:count]
    for means in ("speed", "lambda"):
        for motion in (-1.0, -0.5, 0.0, 0.5, 1.0):
            dialled = amount(pipeline.variant, motion, means)
            strengths = (dialled.middle if i in MIDDLE else 1.0 for i in range(LAYERS))
            pipeline.model.image_strengths = tuple(strengths)
            fps = dialled.speed or pipeline.variant.speed
            for scene, video in zip(scenes, make_videos(pipeline, scenes, [], 0, fps), strict=True):
                went = change(follow(video, picture_of(scene)))[:2]
                _note(found, **{f"{means} {motion:+.1f}": float(np.hypot(*went))})
    return found


def _note(found: Figures, **values: float) -> None:
    for name, value in values.items():
        found.setdefault(name, []).append(float(value))


JUDGES: dict[str, tuple[Callable[[Pipeline, Clocks, int], Figures], int]] = {
    "drag": (judge_drag, 30),
    "camera": (judge_camera, 24),
    "hold": (judge_hold, 20),
    "dial": (judge_dial, 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=JUDGES)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--scenes", type=int)
    parser.add_argument(
        "--clocks", nargs=2, type=int, default=(120, 120), metavar=("WEAK", "STRONG")
    )
    arguments = parser.parse_args()
    pipeline = load(arguments.checkpoint, tokenizer=arguments.tokenizer)
    judge, count = JUDGES[arguments.what]
    found = judge(pipeline, Clocks(*arguments.clocks), arguments.scenes or count)
    for name, values in found.items():
        low, high = mean_interval([v for v in values if np.isfinite(v)])
        log.info(
            "%s: %.3f (%.3f to %.3f, n = %d)", name, np.nanmean(values), low, high, len(values)
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
