"""The door: every kind of input, what it lets in and what it says of the rest."""

from typing import Any

import pytest
import torch
from comfy_api.latest import io
from fakes import FakeCLIP, FakeVAE, conditioning
from pack.nodes.checks import InputError
from pack.nodes.door import checked
from pack.nodes.host import keys
from pack.nodes.inputs import Keyframe, Keyframes, Projector, Shots

NAN = float("nan")
LATENT = {"samples": torch.zeros(2, 4, 2, 2)}
FILES = [f"a-file-of-a-long-name-{i:03}.safetensors" for i in range(300)]


def node(entry: Any) -> Any:
    """A node with this one input, which gives back what it got."""

    class Echo:
        @classmethod
        def define_schema(cls) -> Any:
            return io.Schema(node_id="Echo", category="", inputs=[entry], outputs=[])

        @classmethod
        @checked
        def execute(cls, **optional: Any) -> Any:
            return optional.get(entry.id)

    return Echo


KINDS: list[tuple[Any, list[Any], list[Any]]] = [
    (io.Int.Input("a", min=1, max=5), [1, 5, True], [0, 6, 1.5, NAN, "1", None, 10**4000]),
    (io.Float.Input("a", min=0.0, max=2.0), [0, 0.5, 2], [-0.1, 2.1, NAN, float("inf"), "1", None]),
    (io.Combo.Input("a", options=["b", "c"]), ["b", "c"], ["", "d", 0, None]),
    (io.Combo.Input("a", options=FILES), FILES[-1:], ["", "x" * 1000]),
    (io.String.Input("a"), ["", "b"], [0, None, ["b"]]),
    (io.Boolean.Input("a"), [True, False, 0], ["true", None, 0.5]),
    (io.Image.Input("a"), [torch.zeros(1, 2, 2, 3)], [None, "b", torch.zeros(2, 2, 3), [1]]),
    (
        io.Mask.Input("a"),
        [torch.zeros(1, 2, 2), torch.zeros(2, 2)],
        [None, "b", torch.zeros(1, 0, 2), torch.zeros(1, 1, 2, 2), torch.tensor([[[NAN]]]), [1]],
    ),
    (io.Latent.Input("a"), [LATENT], [None, {}, LATENT["samples"], {"samples": None}]),
    (io.Conditioning.Input("a"), [conditioning()], [None, [], "b", [[None, {}]], [[1]]]),
    (io.Clip.Input("a"), [FakeCLIP()], [None, "b"]),
    (io.Vae.Input("a"), [FakeVAE()], [None, "b"]),
    (io.ClipVision.Input("a"), [], [None, "b"]),
    (io.ClipVisionOutput.Input("a"), [], [None, {}, torch.zeros(1, 2, 3)]),
    (io.Model.Input("a"), [], [None, "b", FakeVAE()]),
    (io.Noise.Input("a"), [], [None, 1]),
    (Projector.Input("a"), [], [None, "b"]),
    (Keyframes.Input("a"), [(Keyframe(0, LATENT["samples"]),), ()], [None, [], ("b",)]),
    (Shots.Input("a"), [()], [None, (Keyframe(0, LATENT["samples"]),)]),
]


@pytest.mark.parametrize(("entry", "good", "bad"), KINDS, ids=lambda e: getattr(e, "io_type", ""))
def test_every_kind(entry: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        node(entry).execute(a=value)
    for value in bad:
        with pytest.raises(InputError) as refusal:
            node(entry).execute(a=value)
        message = str(refusal.value)
        assert message.endswith(".") and "\n" not in message and len(message) < 400


def test_optional_inputs_may_be_left() -> None:
    entry = io.Image.Input("a", optional=True)
    assert node(entry).execute(a=None) is None
    assert node(entry).execute() is None


def test_images_have_three_channels_inside() -> None:
    entry = io.Image.Input("a")
    for channels in (1, 3, 4):
        found = node(entry).execute(a=torch.ones(1, 2, 2, channels, dtype=torch.float16))
        assert found.shape == (1, 2, 2, 3) and found.dtype == torch.float32


def test_masks_have_a_batch_and_lie_in_0_to_1_inside() -> None:
    found = node(io.Mask.Input("a")).execute(a=torch.tensor([[-1.0, 0.5], [2.0, 1.0]]))
    assert found.tolist() == [[[0, 0.5], [1, 1]]]


def test_what_dc_model_refuses_is_an_input_error() -> None:
    class Refusing(node(io.String.Input("a"))):
        @classmethod
        @checked
        def execute(cls, a: str) -> None:
            raise ValueError(f"{a} is wrong; choose b.")

    with pytest.raises(InputError, match="choose b"):
        Refusing.execute(a="c")


def latent_with(mask: Any) -> dict[str, Any]:
    return {**LATENT, "noise_mask": mask}


def test_noise_masks_lie_in_0_to_1_inside() -> None:
    given = latent_with(torch.tensor([[[-3.0, 0.5], [2.0, 1.0]]]))
    found = node(io.Latent.Input("a")).execute(a=given)
    assert found["noise_mask"].tolist() == [[[0, 0.5], [1, 1]]]
    assert float(given["noise_mask"].min()) == -3.0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(0, 8, 8), r"noise mask has shape \[0, 8, 8\]"),
        (torch.ones(8), r"noise mask has shape \[8\]"),
        (torch.tensor(1.0), r"noise mask has shape \[\]"),
        (torch.full((1, 2, 2), NAN), "noise mask has numbers that are not finite"),
        ("b", "noise mask is a str"),
    ],
)
def test_noise_masks_that_are_none(mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        node(io.Latent.Input("a")).execute(a=latent_with(mask))


@pytest.mark.parametrize("key", [keys.CONCAT_LATENT, keys.IMAGE_CONTEXT, keys.HELD_LATENTS, "mask"])
def test_what_a_prompt_holds_beside_the_text_is_finite(key: str) -> None:
    def admit(value: Any) -> None:
        values: dict[str, Any] = {key: value}
        node(io.Conditioning.Input("a")).execute(a=conditioning(**values))

    admit(torch.zeros(1, 4, 2, 2))
    with pytest.raises(InputError, match=r"(image|held|area) .* not finite"):
        admit(torch.full((1, 4, 2, 2), NAN))
    with pytest.raises(InputError, match=r"a's (image|held|area) .* is a str"):
        admit("b")
