"""Pin First Frame: which frames `given` means in each mode."""

from typing import Any

import pytest
import torch
from graphs import Graph
from scene import SIZE
from studio import Animation, Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"


@pytest.mark.parametrize(
    ("mode", "pinned"),
    [("interpolate", [0, 1]), ("keyframes", [0, 1]), ("animate", [0]), ("per_frame", [0])],
)
def test_given_frames_of_a_video_without_others(
    studio: Studio, graph: Graph, mode: str, pinned: list[int]
) -> None:
    """Where every frame has a latent, the mode says whether it is the frame's own image."""
    pictures = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 1.0)])
    first, last = (studio.image(graph, pictures[i : i + 1]) for i in range(2))
    both = studio.image(graph, pictures)
    made = Animation(studio, graph, studio.small_checkpoint("512_interp"))
    made.text("a cloud").context(first)
    options: dict[str, Any] = {
        "interpolate": {"end_image": last},
        "keyframes": {"keyframes": graph.add("DynamiCrafterKeyframe", image=last, frame=-1)[0]},
    }.get(mode, {})
    image = both if mode == "per_frame" else first
    made.detail(image, SIZE, SIZE, 2, mode=mode, **options)
    made.model = graph.add("DynamiCrafterPinFirstFrame", model=made.model, frames="given")[0]
    encoded = graph.add("VAEEncode", pixels=both, vae=made.vae)[0]
    found = studio.run(graph, latent=made.sample(steps=2, cfg=3.0), encoded=encoded)
    latent, images = found["latent"][SAMPLES], found["encoded"][SAMPLES]
    kept = [frame for frame in range(2) if relative_error(latent[frame], images[frame]) < 1e-4]
    assert kept == pinned
