"""Trains the small CLIP-style towers on captioned clips of the small world.

A caption names a motion, which no single image shows, so the image side of a pair is the first
frame together with what changed by the last. Beside the contrastive loss, small heads must read the
attributes off a random position from the end token on: with 77 tokens in the U-Net's softmax every
padding token has to carry the whole sentence.
"""

import argparse
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from dc_model.encoders.clip import Towers
from dc_model.preprocess import clip_preprocess
from training.vocabulary import END, known_tokens, tokenize

from ..world.render import render_frame
from ..world.scenes import COLOURS, MOTIONS, SHAPES, Scene, make_scene

log = logging.getLogger(__name__)

PEAK_RATE = 1e-3
# Captions without pictures in every step: sentences are cheap, images are not.
EXTRA_CAPTIONS = 112


class AttributeHeads(nn.Module):
    """What a caption or a clip says, read off an embedding. Training only."""

    def __init__(self, text_width: int, vision_width: int):
        super().__init__()
        self.text_kind = nn.Linear(text_width, len(SHAPES))
        self.text_colour = nn.Linear(text_width, len(COLOURS))
        self.text_motion = nn.Linear(text_width, len(MOTIONS))
        self.image_kind = nn.Linear(vision_width, len(SHAPES))
        self.image_colour = nn.Linear(vision_width, len(COLOURS))
        self.first = nn.Linear(text_width, text_width)
        self.change = nn.Linear(text_width, text_width)


def labels(scenes: list[Scene]) -> tuple[Tensor, Tensor, Tensor]:
    """Class numbers of shape, colour and motion."""
    colours = list(COLOURS)
    return (
        torch.tensor([SHAPES.index(s.shape) for s in scenes]),
        torch.tensor([colours.index(s.colour) for s in scenes]),
        torch.tensor([MOTIONS.index(s.motion) for s in scenes]),
    )


def said(tokens: Tensor, states: Tensor, generator: torch.Generator) -> Tensor:
    """The state at a random position from the end token on, one per caption."""
    ends = (tokens == END).int().argmax(dim=1)
    spread = torch.rand(len(ends), generator=generator)
    positions = (ends + spread * (tokens.shape[1] - ends)).long().clamp(max=tokens.shape[1] - 1)
    return states[torch.arange(len(ends)), positions]


def pair_loss(
    towers: Towers, heads: AttributeHeads, scenes: list[Scene], generator: torch.Generator
) -> Tensor:
    """The contrastive loss of captions and clips, and the attributes read off first frames."""
    tokens = tokenize([s.caption for s in scenes])
    frames = np.stack([render_frame(s, t) for t in (0.0, 1.0) for s in scenes])
    seen = towers.visual(clip_preprocess(torch.from_numpy(frames) * 2 - 1)).float()
    first, last = towers.visual.embed(seen).chunk(2)
    text = said(tokens, towers.text(tokens).float(), generator)
    shape, colour, _ = labels(scenes)
    clip = F.normalize(heads.first(first) + heads.change(last - first), dim=-1)
    sentence = F.normalize(text @ towers.text.text_projection, dim=-1)
    logits = towers.text.logit_scale.exp().clamp(max=100) * sentence @ clip.T
    target = torch.arange(len(scenes))
    pooled = seen[: len(scenes)].mean(dim=1)
    return (
        0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        + F.cross_entropy(heads.image_kind(pooled), shape)
        + F.cross_entropy(heads.image_colour(pooled), colour)
    )


def caption_loss(
    towers: Towers, heads: AttributeHeads, scenes: list[Scene], generator: torch.Generator
) -> tuple[Tensor, float]:
    """The loss of the attributes read off captions, and the motion's accuracy."""
    tokens = tokenize([s.caption for s in scenes])
    text = said(tokens, towers.text(tokens).float(), generator)
    shape, colour, motion = labels(scenes)
    said_motion = heads.text_motion(text)
    loss = (
        F.cross_entropy(heads.text_kind(text), shape)
        + F.cross_entropy(heads.text_colour(text), colour)
        + F.cross_entropy(said_motion, motion)
    )
    return loss, float((said_motion.argmax(dim=1) == motion).float().mean())


def train(output: Path, *, minutes: float, batch_size: int = 16, seed: int = 2) -> None:
    """Train for `minutes` and save both towers."""
    towers = Towers()
    towers.text.reset_tokens(known_tokens())
    heads = AttributeHeads(towers.arch.text_width, towers.arch.vision_width)
    parameters = [*towers.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    began, step, report = time.monotonic(), 0, 0.0
    while (spent := time.monotonic() - began) < minutes * 60:
        progress = spent / (minutes * 60)
        rate = PEAK_RATE * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        count = batch_size + EXTRA_CAPTIONS
        scenes = [make_scene(seed, step * count + i) for i in range(count)]
        with torch.autocast("cpu", torch.bfloat16):
            pairs = pair_loss(towers, heads, scenes[:batch_size], generator)
            captions, accuracy = caption_loss(towers, heads, scenes, generator)
        loss = pairs + captions
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if spent - report > 20:
            report = spent
            log.info(
                "%.0f s, step %d, images %.3f, captions %.3f, motion %.2f",
                spent,
                step,
                pairs.item(),
                captions.item(),
                accuracy,
            )
    state = {k: v for k, v in towers.state_dict().items() if not k.endswith(".mask")}
    save_file({k: v.contiguous() for k, v in state.items()}, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(arguments.output, minutes=arguments.minutes)


if __name__ == "__main__":
    main()
