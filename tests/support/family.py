"""Graphs and expectations of every variant, for tests that run the whole family."""

from dataclasses import dataclass, field
from typing import Any

import torch
from graphs import Graph, Link
from reference import Reference
from studio import Animation, Studio, picture
from torch import Tensor

SIZE, LENGTH, STEPS, CFG = 64, 4, 2, 7.5

# Variant -> the speed that its U-Net sees when `fps` is 0.
SPEEDS = {
    "256": 3,
    "512": 24,
    "1024": 10,
    "512_interp": 5,
    "cil_512": 24,
    "cil_1024": 24,
    "toon_512": 10,
    "viewcrafter_16": 10,
    "viewcrafter_25": 10,
    "videocrafter1_512": 16,
    "videocrafter1_1024": 16,
    "videocrafter1_i2v": 16,
    "videocrafter2": 16,
}
MODES = {
    "512_interp": "interpolate",
    "toon_512": "interpolate",
    "viewcrafter_16": "per_frame",
    "viewcrafter_25": "per_frame",
}


def length_of(variant: str) -> int:
    return 25 if variant == "viewcrafter_25" else LENGTH


def takes_image(variant: str) -> bool:
    return not variant.startswith("videocrafter") or variant == "videocrafter1_i2v"


def bare(studio: Studio, variant: str) -> str:
    """Name of a small checkpoint that only its content and its name identify."""
    return studio.small_checkpoint(variant, name="-bare", stated=False)


def wire(
    studio: Studio,
    graph: Graph,
    variant: str,
    *,
    file: str = "",
    lender: str = "",
    batch_size: int = 1,
    **loader: Any,
) -> Animation:
    """The variant's usual graph up to the sampler.

    file: the checkpoint, or the bare small one. lender: a checkpoint for the encoders and the VAE.
    """
    made = Animation(studio, graph, file or bare(studio, variant), **loader)
    if lender:
        other = Animation(studio, graph, lender)
        made.clip, made.vae, made.clip_vision = other.clip, other.vae, other.clip_vision
    made.text("a red ball", "blurry")
    length, mode = length_of(variant), MODES.get(variant, "animate")
    image = studio.image(graph, picture(SIZE, SIZE))
    if takes_image(variant):
        made.context(image)
    if variant.startswith("videocrafter"):
        made.empty(SIZE, length)
        return made
    end = studio.image(graph, picture(SIZE, SIZE, 1.0)) if mode == "interpolate" else None
    if mode == "per_frame":
        image = studio.image(graph, torch.cat([picture(SIZE, SIZE, i / 9) for i in range(length)]))
    return made.detail(image, SIZE, SIZE, length, mode=mode, end_image=end, batch_size=batch_size)


def conditionings(made: Animation) -> dict[str, Any]:
    assert made.positive is not None
    assert made.negative is not None
    return {"positive": made.positive, "negative": made.negative}


def k_sampler(graph: Graph, made: Animation) -> Link:
    return graph.add(
        "KSampler",
        model=made.model,
        positive=made.positive,
        negative=made.negative,
        latent_image=made.latent,
        seed=5,
        steps=STEPS,
        cfg=CFG,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )[0]


def published_sample(
    studio: Studio, graph: Graph, made: Animation
) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Unit noise, and the results of our sampler from it with the published ending."""
    unit = torch.randn(LENGTH, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    latent = made.sample(
        steps=STEPS,
        cfg=CFG,
        guidance_rescale=0.0,
        noise=studio.noise(graph, unit),
        ending="published",
    )
    return unit, studio.run(graph, **conditionings(made), latent=latent)


@dataclass
class Run:
    """What the server made of one variant."""

    variant: str
    noise: Tensor
    results: dict[str, dict[str, Tensor]]
    reference: Reference
    conditions: list[tuple[Tensor, Tensor | None]] = field(init=False)
    concat: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        found = [self.results[name] for name in ("positive", "negative")]
        context = "value.0.1.dynamicrafter_image_context"
        self.conditions = [(cond["value.0.0"], cond.get(context)) for cond in found]
        self.concat = found[0].get("value.0.1.concat_latent_image")

    def latent(self, path: str) -> Tensor:
        return self.results[path]["value.samples"]

    def expected(self, **options: Any) -> Tensor:
        start = options.pop("noise", self.noise)
        return self.reference.sample(
            start, self.conditions, CFG, SPEEDS[self.variant], STEPS, self.concat, **options
        )
