"""Storyboard graphs."""

from typing import Any

from graphs import Graph, Link, Node
from scene import FRAMES, SIZE
from studio import Animation


def shots(graph: Graph, *images: Link | None, fps: int = 0) -> Link:
    """DC_SHOTS; None is a shot that goes on from the one before."""
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
