"""ToonCrafter's sketch ControlNet against the published one, its laws, and its layout."""

import pytest
import torch

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.layout import shapes
from dc_model.toon.sketch_controlnet import (
    SketchControlArch,
    SketchControlNet,
    detect_sketch_control_arch,
    sketch_control,
)

HEAD_DIM = 8  # of the golden item


@pytest.fixture(scope="module")
def item(load_golden):
    return load_golden("controlnet_tiny")


@pytest.fixture(scope="module")
def network(item):
    weights = item.weights()
    network = SketchControlNet(detect_sketch_control_arch(shapes(weights), HEAD_DIM))
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def video(frames, batch=1, size=(6, 8)):
    generator = torch.Generator().manual_seed(frames)
    x = torch.randn(batch, 4, frames, *size, generator=generator)
    text = torch.randn(batch, 77, 32, generator=generator)
    timesteps = torch.tensor([500, 20][:batch])
    return x, timesteps, text


def sketches(count, size=(6, 8)):
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, 1, size[0] * 8, size[1] * 8, generator=generator)


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@torch.no_grad()
def test_residuals_are_the_published_ones(network, item):
    text = item["context"][:, :77]
    residuals = network(item["x"], item["hint"], item["timesteps"], text)
    assert len(residuals) == 5
    for i, residual in enumerate(residuals):
        close(residual, item[f"out.{i}"], 1e-4)


class TestLayout:
    def test_published_one_loads_without_missing_or_unexpected_key(self, load_manifest_controlnet):
        published = load_manifest_controlnet
        arch = detect_sketch_control_arch(published)
        assert arch == SketchControlArch()
        with torch.device("meta"):
            network = SketchControlNet(arch)
        assert shapes(network.state_dict()) == published
        assert sum(p.numel() for p in network.parameters()) == 364_227_952

    def test_other_hints_and_other_files_are_refused(self, load_manifest_controlnet):
        published = dict(load_manifest_controlnet)
        colour = {**published, "input_hint_block.0.weight": (16, 3, 3, 3)}
        with pytest.raises(CheckpointError, match=r"3 channels.*Load ControlNet Model"):
            detect_sketch_control_arch(colour)
        convolutional = {**published, "middle_block.1.proj_in.weight": (1280, 1280, 1, 1)}
        with pytest.raises(CheckpointError, match="proj_in"):
            detect_sketch_control_arch(convolutional)
        with pytest.raises(CheckpointError, match="no sketch ControlNet"):
            detect_sketch_control_arch({"out.2.weight": (4, 320, 3, 3)})

    @pytest.mark.parametrize("width", [0, 32, 96])
    def test_widths_that_no_heads_make_are_refused(self, load_manifest_controlnet, width):
        narrow = {
            key: tuple(width if size == 1280 else size for size in shape)
            for key, shape in load_manifest_controlnet.items()
        }
        with pytest.raises(ValueError, match=f"width of {width} is not made of heads of 64"):
            detect_sketch_control_arch(narrow)


@pytest.fixture(scope="module")
def load_manifest_controlnet(load_manifest):
    return load_manifest("tooncrafter_sketch_controlnet").keys


class TestSparse:
    def test_only_frames_with_a_sketch_have_residuals(self, network):
        x, timesteps, text = video(7)
        control = sketch_control(network, x, timesteps, text, sketches(3), [0, 4, -1])
        for residual in (*control["middle"], *control["output"]):
            present = residual.abs().amax(dim=(1, 2, 3)) > 0
            assert present.tolist() == [True, False, False, False, True, False, True]

    def test_only_frames_with_a_sketch_are_computed(self, network):
        rows = []
        handle = network.register_forward_pre_hook(lambda _m, x: rows.append(x[0].shape[0]))
        x, timesteps, text = video(16, batch=2)
        sketch_control(network, x, timesteps, text, sketches(2), [3, 9])
        handle.remove()
        assert rows == [4]

    @pytest.mark.parametrize("frames", [1, 5, 20])
    def test_a_frame_gets_the_residuals_that_it_gets_alone(self, network, frames):
        x, timesteps, text = video(frames)
        hint = sketches(1)
        control = sketch_control(network, x, timesteps, text, hint, [-1], strength=1.0)
        alone = network(x[:, :, -1], hint, timesteps, text)
        for residual, expected in zip([*control["output"], *control["middle"]], alone, strict=True):
            assert residual.shape[0] == frames
            close(residual[-1:], expected)

    def test_sketches_follow_their_frames(self, network):
        x, timesteps, text = video(6)
        hints = sketches(2)
        forward = sketch_control(network, x, timesteps, text, hints, [1, 4])
        backward = sketch_control(network, x, timesteps, text, hints.flip(0), [4, 1])
        close(forward["middle"][0], backward["middle"][0])

    def test_two_videos_equal_one_after_the_other(self, network):
        x, timesteps, text = video(4, batch=2)
        both = sketch_control(network, x, timesteps, text, sketches(2), [0, 3])
        for i in range(2):
            row = slice(i, i + 1)
            one = sketch_control(network, x[row], timesteps[row], text[row], sketches(2), [0, 3])
            close(both["middle"][0].unflatten(0, (2, 4))[i], one["middle"][0])

    def test_text_per_frame(self, network):
        x, timesteps, text = video(4, batch=2)
        rows = text.repeat_interleave(4, dim=0)
        whole = sketch_control(network, x, timesteps, text, sketches(2), [0, 3])
        per_frame = sketch_control(network, x, timesteps, rows, sketches(2), [0, 3])
        close(per_frame["middle"][0], whole["middle"][0])

    def test_strength_multiplies(self, network):
        x, timesteps, text = video(2)
        full, published, none = (
            sketch_control(network, x, timesteps, text, sketches(1), [0], **strength)
            for strength in ({"strength": 1.0}, {}, {"strength": 0.0})
        )
        close(published["middle"][0], full["middle"][0] * 0.6)
        assert none["middle"][0].abs().max() == 0

    def test_sketch_and_text_matter(self, network):
        x, timesteps, text = video(2)
        control = sketch_control(network, x, timesteps, text, sketches(1), [0])["middle"][0]
        for changes in ((text, 1 - sketches(1)), (text + 1, sketches(1))):
            other = sketch_control(network, x, timesteps, *changes, [0])["middle"][0]
            assert (control - other).abs().max() > 1e-3

    @pytest.mark.parametrize(
        ("count", "frames", "message"),
        [
            (1, [4], "Sketch frame 4 is outside the video; with 4 frames"),
            (1, [-5], "outside"),
            (2, [0, -4], "Sketch frames 0 and -4 are both frame 0"),
            (2, [1], "2 sketches for 1 frames"),
            (0, [], "0 sketches"),
        ],
    )
    def test_frames_that_do_not_fit_are_refused(self, network, count, frames, message):
        x, timesteps, text = video(4)
        with pytest.raises(ValueError, match=message):
            sketch_control(network, x, timesteps, text, sketches(count), frames)

    def test_sketches_of_another_size_are_refused(self, network):
        x, timesteps, text = video(4)
        with pytest.raises(ValueError, match=r"\[K, 1, 48, 64\]"):
            sketch_control(network, x, timesteps, text, sketches(1, (8, 8)), [0])


@torch.no_grad()
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_residuals_fit_the_unet_of_the_same_layout(network, tiny_unet, random_inputs, size):
    inputs = random_inputs(frames=4, size=size)
    x = inputs.x[:, :4]
    control = sketch_control(network, x, inputs.timesteps, inputs.text, sketches(2, size), [0, 3])
    guided = inputs.call(tiny_unet, control={k: list(v) for k, v in control.items()})
    assert (guided - inputs.call(tiny_unet)).abs().max() > 1e-3


@torch.no_grad()
def test_the_last_residual_enters_the_middle_and_the_others_the_skips(
    network, tiny_unet, random_inputs
):
    inputs = random_inputs(frames=2, size=(6, 8))
    hint = sketches(1)
    control = sketch_control(
        network, inputs.x[:, :4], inputs.timesteps, inputs.text, hint, [0], strength=1.0
    )
    skips = []

    def look(h, skip, options):
        skips.append(skip)
        return h, skip

    options = {"patches": {"output_block_patch": [look]}}
    inputs.call(tiny_unet, transformer_options=options)
    plain, skips = skips, []
    inputs.call(
        tiny_unet,
        control={k: list(v) for k, v in control.items()},
        transformer_options=options,
    )
    for skip, before, residual in zip(skips, plain, reversed(control["output"]), strict=True):
        close(skip, before + residual)
