"""A small video, ready to sample by stock nodes or by ours."""

from typing import Any

import torch
from graphs import Graph, Link, Node
from studio import Animation, Studio, picture
from torch import Tensor

# Pixels and frames: 8 x 8 latents, a slot of image tokens for every frame.
SIZE, FRAMES = 64, 4
PROMPT = "waves roll over the beach"
# Of the stock node for context windows: one after another, without an overlap.
WINDOWS: dict[str, Any] = {
    "context_length": FRAMES,
    "context_overlap": 0,
    "context_schedule": "batched",
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "flat",
    "dim": 0,
    "freenoise": False,
    "cond_retain_index_list": "",
    "split_conds_to_windows": False,
    "latent_retain_index_list": "",
    "causal_window_fix": False,
}


def unit_noise(seed: int, videos: int = 1, frames: int = FRAMES, size: int = SIZE) -> Tensor:
    """`[N*T, 4, h, w]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos * frames, 4, size // 8, size // 8, generator=generator)


class Scene(Animation):
    """An animation of a smooth picture by a small checkpoint, up to its conditionings."""

    def __init__(
        self,
        studio: Studio,
        graph: Graph,
        variant: str = "512",
        *,
        checkpoint: str | None = None,
        image: Tensor | None = None,
        prompt: str = PROMPT,
        size: int = SIZE,
        frames: int = FRAMES,
        loader: dict[str, Any] | None = None,
        **detail: Any,
    ):
        super().__init__(
            studio, graph, checkpoint or studio.small_checkpoint(variant), **(loader or {})
        )
        self.size, self.frames = size, frames
        self.picture = studio.image(graph, picture(size, size) if image is None else image)
        self.text(prompt).context(self.picture)
        self.detail(self.picture, size, size, frames, **detail)

    def unit_noise(self, seed: int = 0, videos: int = 1) -> Link:
        """The same NOISE for every sampler."""
        return self.studio.noise(self.graph, unit_noise(seed, videos, self.frames, self.size))

    def no_noise(self) -> Link:
        return self.graph.add("DisableNoise")[0]

    def sampler(self, name: str = "euler") -> Link:
        return self.graph.add("KSamplerSelect", sampler_name=name)[0]

    def sigmas(self, steps: int = 5, scheduler: str = "simple", denoise: float = 1.0) -> Link:
        """The host's SIGMAS of this model."""
        return self.graph.add(
            "BasicScheduler", model=self.model, scheduler=scheduler, steps=steps, denoise=denoise
        )[0]

    def cfg_guider(self, cfg: float = 3.0) -> Link:
        return self.graph.add(
            "CFGGuider", model=self.model, positive=self.positive, negative=self.negative, cfg=cfg
        )[0]

    def basic_guider(self, conditioning: Link | None = None) -> Link:
        return self.graph.add(
            "BasicGuider", model=self.model, conditioning=conditioning or self.positive
        )[0]

    def stock(
        self,
        *,
        cfg: float = 3.0,
        steps: int = 5,
        sampler: str = "euler",
        scheduler: str = "simple",
        denoise: float = 1.0,
        latent: Link | None = None,
    ) -> Link:
        """LATENT by SamplerCustomAdvanced with stock nodes alone, from `unit_noise`."""
        return self.sample_custom(
            self.unit_noise(),
            self.cfg_guider(cfg),
            self.sampler(sampler),
            self.sigmas(steps, scheduler, denoise),
            latent,
        )

    def ksampler(self, **options: Any) -> Node:
        """The KSampler node."""
        settings = {
            "seed": 1,
            "steps": 5,
            "cfg": 3.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
            "latent_image": self.latent,
            **options,
        }
        return self.graph.add(
            "KSampler",
            model=self.model,
            positive=self.positive,
            negative=self.negative,
            **settings,
        )


def advanced(scene: Animation, latent: Link, start: int, end: int, **options: Any) -> Link:
    """LATENT of one stage of KSamplerAdvanced, of 6 steps unless the options say otherwise."""
    settings = {
        "add_noise": "enable" if start == 0 else "disable",
        "noise_seed": 1,
        "steps": 6,
        "cfg": 3.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        **options,
    }
    settings.setdefault(
        "return_with_leftover_noise", "disable" if end >= settings["steps"] else "enable"
    )
    return scene.graph.add(
        "KSamplerAdvanced",
        model=scene.model,
        positive=scene.positive,
        negative=scene.negative,
        latent_image=latent,
        start_at_step=start,
        end_at_step=end,
        **settings,
    )[0]


class ContextScene(Scene):
    """The same of a model that knows the image by its context alone (VideoCrafter 1)."""

    def detail(self, *_: Any, **__: Any) -> "ContextScene":
        self.empty(self.size, self.frames)
        return self


class TextScene(ContextScene):
    """The same of a text-to-video model."""

    def context(self, *_: Any, **__: Any) -> "TextScene":
        return self


def small_scene(studio: Studio, graph: Graph, variant: str, **options: Any) -> Scene:
    """The scene of any variant."""
    if variant == "videocrafter1_i2v":
        return ContextScene(studio, graph, variant, **options)
    kind = TextScene if variant.startswith("videocrafter") else Scene
    return kind(studio, graph, variant, **options)


def shots(graph: Graph, *images: Link | None, fps: int = 0) -> Link:
    """DC_SHOTS; None is a shot that continues the one before."""
    link: Any = None
    for i, image in enumerate(images):
        link = graph.add(
            "DynamiCrafterShot",
            prompt=f"scene {i}",
            length=FRAMES,
            fps=fps,
            image=image,
            shots=link,
        )[0]
    return link


def storyboard(made: Animation, link: Link, **options: Any) -> Node:
    """The Storyboard node of a loaded checkpoint."""
    settings = {
        "mode": "animate",
        "negative": "",
        "width": SIZE,
        "height": SIZE,
        "fit": "crop",
        "seed": 5,
        **options,
    }
    return made.graph.add(
        "DynamiCrafterStoryboard",
        model=made.model,
        clip=made.clip,
        vae=made.vae,
        clip_vision=made.clip_vision,
        projector=made.projector,
        shots=link,
        **settings,
    )


class WideScene(Scene):
    """A scene of the wide checkpoint: it fits a stock ControlNet, and recorded effects are its."""

    def __init__(self, studio: Studio, graph: Graph, variant: str = "512", **options: Any):
        checkpoint = studio.small_checkpoint(variant, wide=True)
        super().__init__(studio, graph, variant, checkpoint=checkpoint, **options)
