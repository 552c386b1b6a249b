"""How well the demo model does on held-out scenes: motion, flipped motion, picture, ends.

`python -m research.small_world.judge.evaluate --checkpoint demo.safetensors --clips 60`
"""

import argparse
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dc_model import vdg
from dc_model.checkpoint.layout import split_checkpoint
from dc_model.frames import fold_frames
from dc_model.variants import VARIANTS
from training.encoders import Encoders
from training.model import VideoModel
from training.objective import schedule_of
from training.sampling import sample_videos
from training.saving import load_tensors

from ..train.preset import encoders_of, new_model
from ..world.render import render_clip
from ..world.scenes import MOTIONS, NUM_FRAMES, Scene, make_scene
from .tracker import kind_of, motion_of, nearest_colour, soft_mask, track

log = logging.getLogger(__name__)

OPPOSITE = {
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
    "grow": "shrink",
    "shrink": "grow",
}


@dataclass(frozen=True)
class Settings:
    """How clips are sampled."""

    steps: int = 25
    cfg: float = 2.0
    guidance_rescale: float = 0.7
    eta: float = 1.0
    batch_size: int = 10
    seed: int = 123


@dataclass(frozen=True)
class Demo:
    """A loaded checkpoint of the small world; either condition can be left out."""

    model: VideoModel
    encoders: Encoders
    image_tokens: bool = True
    concat: bool = True

    @classmethod
    def load(cls, path: Path) -> "Demo":
        """Read all five parts of `path`."""
        parts = split_checkpoint({k: v.float() for k, v in load_tensors(path).items()})
        model = new_model(0)
        model.unet.load_state_dict(parts.unet)
        assert model.projector is not None
        model.projector.load_state_dict(parts.projector)
        return cls(model.eval(), encoders_of(parts))

    @torch.no_grad()
    def generate(self, scenes: list[Scene], settings: Settings, mode: str = "animate") -> Tensor:
        """Clips `[N, T, 3, H, W]` in [0, 1] from the first frames; `interpolate`: and last."""
        out = []
        generator = torch.Generator().manual_seed(settings.seed)
        for i in range(0, len(scenes), settings.batch_size):
            out.append(self._batch(scenes[i : i + settings.batch_size], settings, mode, generator))
        return torch.cat(out)

    def _batch(
        self, scenes: list[Scene], settings: Settings, mode: str, generator: torch.Generator
    ) -> Tensor:
        ends = np.stack([render_clip(s)[[0, -1]] for s in scenes])
        first, last = (torch.from_numpy(ends[:, i]) * 2 - 1 for i in (0, 1))
        z_first, z_last = self.encoders.vae.encode(first), self.encoders.vae.encode(last)
        if mode == "animate":
            concat = vdg.animate(z_first, NUM_FRAMES)
        elif mode == "interpolate":
            concat = vdg.interpolate(z_first, z_last, NUM_FRAMES)
        else:
            concat = vdg.loop(z_first, NUM_FRAMES)
        tokens = self.encoders.towers.visual(self.encoders.preprocess(first))
        null_tokens = self.encoders.null_image_tokens().expand_as(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            latents = sample_videos(
                self.model,
                schedule_of(VARIANTS["512"]),
                noise=torch.randn(concat.shape, generator=generator),
                concat=concat if self.concat else None,
                text=self.encoders.text([s.caption for s in scenes]),
                null_text=self.encoders.text([""] * len(scenes)),
                image_tokens=tokens if self.image_tokens else None,
                null_image_tokens=null_tokens if self.image_tokens else None,
                speed=torch.tensor([float(s.fps) for s in scenes]),
                steps=settings.steps,
                cfg=settings.cfg,
                guidance_rescale=settings.guidance_rescale,
                eta=settings.eta,
                generator=generator,
            )
        frames = self.encoders.vae.decode(fold_frames(latents.float())).clamp(-1, 1)
        return ((frames + 1) / 2).unflatten(0, (len(scenes), NUM_FRAMES))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return float(-10 * np.log10(max(float(((a - b) ** 2).mean()), 1e-10)))


def central(scene: Scene) -> Scene:
    """The scene with its object moved to where every motion has room."""
    return replace(scene, x=float(np.clip(scene.x, 26, 38)), y=float(np.clip(scene.y, 26, 38)))


def evaluate(demo: Demo, clips: int, settings: Settings) -> dict[str, float]:
    """All figures over `clips` held-out scenes; shares in [0, 1], PSNR in dB."""
    scenes = [central(make_scene(77, i, "held_out")) for i in range(clips)]
    figures = motion_figures(demo, scenes, settings)
    flipped = [replace(s, motion=OPPOSITE[s.motion]) for s in scenes]
    videos = demo.generate(flipped, settings).numpy()
    told = [motion_of(track(v, s)) == s.motion for v, s in zip(videos, flipped, strict=True)]
    figures["flipped"] = float(np.mean(told))
    return figures | end_figures(demo, scenes, settings)


def motion_figures(demo: Demo, scenes: list[Scene], settings: Settings) -> dict[str, float]:
    """Motion as told, first frame against the VAE's own, colour on every frame."""
    videos = demo.generate(scenes, settings).numpy()
    as_told, gap, kept, drift, kinds = [], [], [], [], []
    by_motion: dict[str, list[bool]] = {m: [] for m in MOTIONS}
    for video, scene in zip(videos, scenes, strict=True):
        found = track(video, scene)
        as_told.append(motion_of(found) == scene.motion)
        by_motion[scene.motion].append(as_told[-1])
        true = render_clip(scene)[0]
        with torch.no_grad():
            z = demo.encoders.vae.encode(torch.from_numpy(true)[None] * 2 - 1)
            alone = ((demo.encoders.vae.decode(z).clamp(-1, 1) + 1) / 2)[0].numpy()
        gap.append(psnr(alone, true) - psnr(video[0], true))
        names = [nearest_colour(c) for c in found.colour]
        kept.append(np.mean([n == scene.colour for n in names if n != "none"] or [0.0]))
        middle = NUM_FRAMES // 2
        mask = soft_mask(video[middle : middle + 1], scene)[0]
        kinds.append(kind_of(mask, found.x[middle], found.y[middle]) == scene.kind)
        drift.append(np.abs(found.colour[-1] - found.colour[0]).mean())
    shares = {f"motion {m}": float(np.mean(v)) for m, v in by_motion.items() if v}
    return {
        "motion as told": float(np.mean(as_told)),
        **shares,
        "first frame, dB below the VAE": float(np.mean(gap)),
        "colour kept, frames": float(np.mean(kept)),
        "kind recognised, middle frame": float(np.mean(kinds)),
        "colour drift": float(np.nanmean(drift)),
    }


def end_figures(demo: Demo, scenes: list[Scene], settings: Settings) -> dict[str, float]:
    """Interpolation against its two images, loops against their first frame; PSNR in dB."""
    few = scenes[: max(1, len(scenes) // 3)]
    between = demo.generate(few, settings, "interpolate").numpy()
    loops = demo.generate(few, settings, "loop").numpy()
    clips = [render_clip(s) for s in few]
    pairs = list(zip(between, clips, strict=True))
    return {
        "interpolate, first": float(np.mean([psnr(v[0], c[0]) for v, c in pairs])),
        "interpolate, last": float(np.mean([psnr(v[-1], c[-1]) for v, c in pairs])),
        "loop closes": float(np.mean([psnr(v[0], v[-1]) for v in loops])),
    }


def contact_sheet(videos: np.ndarray, every: int = 3) -> np.ndarray:
    """Clips `[N, T, 3, H, W]` as one picture `[N*H, W*T/every, 3]` uint8, a row per clip."""
    rows = [np.concatenate(list(v[::every]), axis=2) for v in videos]
    sheet = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    return (np.clip(sheet, 0, 1) * 255).round().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--eta", type=float, default=1.0)
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of a few clips here")
    parser.add_argument("--sheet-only", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    demo = Demo.load(arguments.checkpoint)
    settings = Settings(steps=arguments.steps, cfg=arguments.cfg, eta=arguments.eta)
    if arguments.sheet:
        from PIL import Image

        scenes = [central(make_scene(78, i, "held_out")) for i in range(10)]
        log.info("%s", "\n".join(s.caption for s in scenes))
        sheet = contact_sheet(demo.generate(scenes, settings).numpy())
        Image.fromarray(sheet).resize((sheet.shape[1] * 2, sheet.shape[0] * 2), 0).save(
            arguments.sheet
        )
    if not arguments.sheet_only:
        log.info("%s", json.dumps(evaluate(demo, arguments.clips, settings), indent=1))


if __name__ == "__main__":
    main()
