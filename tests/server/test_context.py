"""The image stream's two nodes: how a picture becomes square, and how frames share its tokens."""

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, unit_noise
from studio import Animation, Studio, picture

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
TOKENS = "value.last_hidden_state"


def bare(studio: Studio, graph: Graph) -> Animation:
    return Animation(studio, graph, studio.small_checkpoint()).text("a cloud")


def test_fit_makes_the_picture_square(studio: Studio, graph: Graph) -> None:
    wide = picture(40, 60)
    padded = torch.zeros(1, 60, 60, 3)
    padded[:, 10:50] = wide
    squares = {"crop": wide[:, :, 10:50], "pad": padded}
    outputs: dict[str, Link] = {}
    for fit, square in squares.items():
        outputs[fit] = bare(studio, graph).context(studio.image(graph, wide), fit=fit).encoded[0]
        made = bare(studio, graph).context(studio.image(graph, square))
        outputs[f"{fit}_expected"] = made.encoded[0]
    made = bare(studio, graph).context(studio.image(graph, wide))
    outputs |= {"stretch": made.encoded[0], "grey": made.encoded[1]}
    made = bare(studio, graph).context(studio.image(graph, torch.full((1, 30, 50, 3), 0.5)))
    outputs["mid_grey"] = made.encoded[0]
    found = {name: tensors[TOKENS] for name, tensors in studio.run(graph, **outputs).items()}
    for fit in squares:
        torch.testing.assert_close(found[fit], found[f"{fit}_expected"], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found[fit], found["stretch"], atol=1e-2)
    # What stands for no image is a mid-grey one.
    torch.testing.assert_close(found["grey"], found["mid_grey"], atol=1e-4, rtol=1e-4)
    assert found["stretch"].shape[:2] == (1, 257)


@pytest.mark.parametrize(
    ("length", "same"), [(FRAMES, ("auto", "resample")), (2 * FRAMES, ("auto", "shared"))]
)
def test_how_frames_share_the_tokens(
    studio: Studio, graph: Graph, length: int, same: tuple[str, str]
) -> None:
    """auto: a slot for each frame at the projector's own length, else all tokens to every frame."""
    image = studio.image(graph, picture(SIZE, SIZE))

    def sample(frame_tokens: str) -> Link:
        made = bare(studio, graph).context(image, frame_tokens).detail(image, SIZE, SIZE, length)
        noise = studio.noise(graph, unit_noise(1, frames=length))
        return made.sample(steps=1, noise=noise)

    modes = ("auto", "shared", "resample")
    results = studio.run(graph, **{mode: sample(mode) for mode in modes})
    found = {mode: results[mode][SAMPLES] for mode in modes}
    (other,) = set(modes) - set(same)
    torch.testing.assert_close(found[same[0]], found[same[1]], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[other], found["auto"], atol=1e-4)


def test_a_context_for_another_number_of_videos_is_refused(studio: Studio, graph: Graph) -> None:
    images = studio.image(graph, torch.cat([picture(SIZE, SIZE, i) for i in (0.0, 2.0)]))
    one = studio.image(graph, picture(SIZE, SIZE))
    made = bare(studio, graph).context(images).detail(one, SIZE, SIZE, FRAMES, batch_size=3)
    assert "of 2 images, but 3 videos" in studio.error(graph, made.sample(steps=1))
