"""The U-Net against the published one, its laws, and its checkpoint layouts."""

import pytest
import torch
from crossings import Crossings
from manifests import FULL_MANIFESTS
from torch._dynamo.utils import counters

from dc_model.checkpoint.detect import detect_unet_arch
from dc_model.checkpoint.layout import UNET_PREFIX, shapes
from dc_model.frames import fold_frames
from dc_model.unet.attention import IMAGE_STRENGTHS, DualCrossAttention
from dc_model.unet.transformers import SpatialTransformer
from dc_model.unet.unet import DynamiCrafterUNet, frame_image_context

TOLERANCE = 1e-4

ITEMS = {
    "dc256_learnable": 3,
    "dc512": 2,
    "dc512_cases": 7,
    "dc_nofs_noinit": 2,
    "dc_noimg": 2,
    "vc1_i2v": 2,
    "vc1_t2v_1024_relpos_fps": 1,
    "vc1_t2v_512_relpos": 3,
    "vc2_t2v": 3,
}
CASES = [(name, case) for name, count in ITEMS.items() for case in range(count)]
VIDEOCRAFTER_DEFAULT_SPEED = 16


def build(item):
    params, weights = item.info["unet_params"], item.weights()
    # Without `init_attn` nothing in the shapes shows how wide a head is.
    stated = params["num_head_channels"] if "init_attn.0.norm.weight" not in weights else None
    with torch.device("meta"):
        unet = DynamiCrafterUNet(detect_unet_arch(shapes(weights), stated))
    unet.load_state_dict(weights, assign=True)
    return unet.eval()


def run_case(unet, item, case):
    context, speed = item[f"{case}.context"], item.get(f"{case}.fs")
    timesteps = item[f"{case}.timesteps"]
    if speed is None and unet.arch.speed_condition:
        default = item.info["unet_params"].get("default_fs", VIDEOCRAFTER_DEFAULT_SPEED)
        speed = torch.full_like(timesteps, default)
    image = context[:, 77:] if context.shape[1] > 77 else None
    with torch.no_grad():
        return unet(item[f"{case}.x"], timesteps, context[:, :77], image, speed)


def close(a, b, atol=TOLERANCE):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def far(a, b):
    """Apart by much more than rounding."""
    return (a - b).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "case"), CASES)
def test_output_is_the_published_one(load_golden, name, case):
    item = load_golden(f"unet_tiny_{name}")
    close(run_case(build(item), item, f"case{case}"), item[f"case{case}.out"])


@pytest.mark.parametrize("name", ITEMS)
def test_every_golden_case_is_run(load_golden, name):
    assert len(load_golden(f"unet_tiny_{name}").info["cases"]) == ITEMS[name]


def test_every_block_gives_what_the_published_one_gives(load_golden):
    item, blocks = load_golden("unet_tiny_dc512"), load_golden("unet_tiny_dc512_inter")
    unet = build(item)
    prefix = "case1.inter."
    outputs = {}

    def record(name):
        return lambda _module, _inputs, output: outputs.__setitem__(name, output)

    for key in blocks.tensors:
        name = key.removeprefix(prefix)
        module = unet.get_submodule(name)
        last = module[-1] if isinstance(module, torch.nn.ModuleList) else module
        last.register_forward_hook(record(name))
    run_case(unet, item, "case1")
    for key in blocks.tensors:
        expected = blocks[key]
        expected = fold_frames(expected) if expected.ndim == 5 else expected
        close(outputs[key.removeprefix(prefix)], expected)


@pytest.mark.parametrize("name", FULL_MANIFESTS)
def test_published_layout_loads_without_missing_or_unexpected_key(load_manifest, name):
    published = load_manifest(name).part(UNET_PREFIX)
    with torch.device("meta"):
        unet = DynamiCrafterUNet(detect_unet_arch(published))
    assert shapes(unet.state_dict()) == published


def test_scaled_down_model_is_detected_from_its_own_shapes(tiny_unet, tiny_arch):
    assert detect_unet_arch(shapes(tiny_unet.state_dict())) == tiny_arch


class TestText:
    def test_is_projected_once_per_video_not_once_per_frame(self, tiny_unet, random_inputs):
        rows = []
        for module in tiny_unet.modules():
            if isinstance(module, DualCrossAttention):
                module.to_k.register_forward_pre_hook(lambda _m, x: rows.append(x[0].shape[0]))
                module.to_v.register_forward_pre_hook(lambda _m, x: rows.append(x[0].shape[0]))
        random_inputs(batch=2, frames=4).call(tiny_unet)
        assert set(rows) == {2}

    def test_rows_per_frame_equal_the_same_row_for_all_frames(self, tiny_unet, random_inputs):
        inputs = random_inputs(batch=2, frames=4)
        per_frame = inputs.text.repeat_interleave(4, dim=0)
        close(inputs.call(tiny_unet, context=per_frame), inputs.call(tiny_unet), 1e-5)

    def test_a_row_per_frame_reaches_its_own_frame_first(self, tiny_unet, random_inputs):
        inputs = random_inputs(frames=4)
        rows = inputs.text.repeat_interleave(4, dim=0)
        changed = rows.clone()
        changed[2] += 1
        attention = next(m for m in tiny_unet.modules() if isinstance(m, DualCrossAttention))
        seen = []
        attention.register_forward_hook(lambda _m, _x, out: seen.append(out))
        inputs.call(tiny_unet, context=rows)
        inputs.call(tiny_unet, context=changed)
        difference = (seen[0] - seen[1]).abs().amax(dim=(1, 2))  # [T]
        assert difference[2] > 1e-3
        assert difference[[0, 1, 3]].max() == 0

    def test_long_prompt_never_reaches_the_image_attention(self, tiny_unet, random_inputs):
        inputs = random_inputs(text_tokens=154)
        seen = []
        for module in tiny_unet.modules():
            if isinstance(module, DualCrossAttention):
                module.to_k_ip.register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
                module.to_v_ip.register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
        long = inputs.call(tiny_unet)
        expected = fold_image(inputs.image)
        assert seen
        assert all(torch.equal(x, expected) for x in seen)
        assert far(long, inputs.call(tiny_unet, context=inputs.text[:, :77]))


def fold_image(image):
    return image.unflatten(1, (-1, 16)).flatten(0, 1)


class TestImage:
    def test_scale_of_zero_equals_no_image(self, tiny_unet, random_inputs):
        inputs = random_inputs()
        zeros = tuple(0.0 for _ in spatial(tiny_unet))
        without = inputs.call(tiny_unet, image_context=None)
        close(inputs.call(tiny_unet, transformer_options={IMAGE_STRENGTHS: zeros}), without, 0)
        assert far(inputs.call(tiny_unet), without)

    def test_no_tokens_equal_no_image(self, tiny_unet, random_inputs):
        inputs = random_inputs()
        without = inputs.call(tiny_unet, image_context=None)
        close(inputs.call(tiny_unet, image_context=inputs.image[:, :0]), without, 0)

    def test_scales_multiply_lambda_layer_by_layer(self, tiny_unet, random_inputs):
        """A scale on a layer equals the same factor in that layer's image values."""
        inputs = random_inputs()
        factors = tuple(0.25 + 0.5 * i for i in range(len(spatial(tiny_unet))))
        scaled = inputs.call(tiny_unet, transformer_options={IMAGE_STRENGTHS: factors})
        with torch.no_grad():
            for layer, factor in zip(spatial(tiny_unet), factors, strict=True):
                layer.get_parameter("transformer_blocks.0.attn2.to_v_ip.weight").mul_(factor)
        close(inputs.call(tiny_unet), scaled, 1e-5)

    def test_auto_gives_every_frame_its_slot(self, random_inputs):
        tokens = random_inputs(batch=2, frames=4).image
        split = frame_image_context(tokens, 4, "auto")
        assert split.shape == (8, 16, 32)
        assert torch.equal(split[4 + 3], tokens[1, 48:64])

    @pytest.mark.parametrize("frames", [3, 5, 16])
    def test_auto_gives_all_tokens_to_every_frame_at_other_lengths(self, random_inputs, frames):
        tokens = random_inputs(frames=4).image
        assert torch.equal(frame_image_context(tokens, frames, "auto"), tokens)

    def test_shared_never_splits(self, random_inputs):
        tokens = random_inputs(frames=4).image
        assert torch.equal(frame_image_context(tokens, 4, "shared"), tokens)

    @pytest.mark.parametrize("frames", [1, 3, 7, 8])
    def test_resample_interpolates_the_slots(self, random_inputs, frames):
        tokens = random_inputs(batch=2, frames=4).image
        slots = frame_image_context(tokens, frames, "resample")
        assert slots.shape == (2 * frames, 16, 32)
        per_video = slots.unflatten(0, (2, frames))
        close(per_video[:, 0], tokens[:, :16], 1e-6)
        if frames > 1:
            close(per_video[:, -1], tokens[:, -16:], 1e-6)
        if frames == 7:
            close(per_video[:, 1], (tokens[:, :16] + tokens[:, 16:32]) / 2, 1e-6)

    def test_resample_to_the_same_length_equals_auto(self, random_inputs):
        tokens = random_inputs(frames=4).image
        resampled = frame_image_context(tokens, 4, "resample")
        assert torch.equal(resampled, frame_image_context(tokens, 4, "auto"))

    def test_modes_change_the_output(self, tiny_unet, random_inputs):
        inputs = random_inputs(frames=6, image_tokens=64)
        shared = inputs.call(tiny_unet, frame_tokens="shared")
        close(inputs.call(tiny_unet, frame_tokens="auto"), shared, 0)
        assert far(inputs.call(tiny_unet, frame_tokens="resample"), shared)


def spatial(unet):
    """Spatial transformers in forward order."""
    parts = [*unet.input_blocks, unet.middle_block, *unet.output_blocks]
    return [layer for part in parts for layer in part if isinstance(layer, SpatialTransformer)]


def test_spatial_layers_ignore_the_order_of_frames(tiny_unet, random_inputs):
    """Without temporal layers a shuffled video gives the shuffled output."""
    arch = tiny_unet.arch._replace(temporal_conv=False, init_attention=False)
    unet = DynamiCrafterUNet(arch)
    unet.load_state_dict(tiny_unet.state_dict(), strict=False)
    for name, parameter in unet.named_parameters():
        if name.endswith("2.proj_out.weight") or name.endswith("2.proj_out.bias"):
            torch.nn.init.zeros_(parameter)  # switches the temporal transformers off
    order = torch.tensor([2, 0, 3, 1])
    inputs = random_inputs(image_tokens=16)
    out = inputs.call(unet.eval(), frame_tokens="shared")
    shuffled = inputs.call(unet, x=inputs.x[:, :, order], frame_tokens="shared")
    close(shuffled, out[:, :, order], 1e-5)


def test_temporal_layers_do_not(tiny_unet, random_inputs):
    order = torch.tensor([2, 0, 3, 1])
    inputs = random_inputs(image_tokens=16)
    out = inputs.call(tiny_unet, frame_tokens="shared")
    shuffled = inputs.call(tiny_unet, x=inputs.x[:, :, order], frame_tokens="shared")
    assert far(shuffled, out[:, :, order])


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (9, 16), (3, 2)])
@pytest.mark.parametrize("frames", [1, 3])
def test_any_height_width_and_length(tiny_unet, random_inputs, size, frames):
    inputs = random_inputs(frames=frames, size=size)
    out = inputs.call(tiny_unet)
    assert out.shape == (1, 4, frames, *size)
    assert out.isfinite().all()


def test_two_videos_at_once_equal_one_after_the_other(tiny_unet, random_inputs):
    inputs = random_inputs(batch=2, frames=3, size=(6, 10))
    both = inputs.call(tiny_unet)
    for i in range(2):
        one = {
            "x": inputs.x[i : i + 1],
            "timesteps": inputs.timesteps[i : i + 1],
            "context": inputs.text[i : i + 1],
            "image_context": inputs.image[i : i + 1],
            "speed": inputs.speed[i : i + 1],
        }
        close(both[i : i + 1], inputs.call(tiny_unet, **one), 1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_branches_that_share_their_noise_equal_branches_that_repeat_it(
    tiny_unet, random_inputs, frames
):
    """With two videos and three branches, which differ in text and image tokens alone."""
    videos, branches = 2, 3
    inputs = random_inputs(batch=videos * branches, frames=frames)
    noise, timesteps, speed = (x[:videos] for x in (inputs.x, inputs.timesteps, inputs.speed))
    same = {"timesteps": timesteps.repeat(branches), "speed": speed.repeat(branches)}
    seen = []
    for first in (tiny_unet.input_blocks[0][0], tiny_unet.input_blocks[1][1].proj_out):
        first.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    shared = inputs.call(tiny_unet, x=noise, **same)
    assert seen == [videos * frames, videos * branches * frames]
    close(shared, inputs.call(tiny_unet, x=noise.repeat(branches, 1, 1, 1, 1), **same), 1e-5)


def test_speed_changes_the_output_and_is_required(tiny_unet, random_inputs):
    inputs = random_inputs()
    assert far(inputs.call(tiny_unet), inputs.call(tiny_unet, speed=inputs.speed + 10))
    with pytest.raises(ValueError, match="speed"):
        inputs.call(tiny_unet, speed=None)


def test_gradient_checkpointing_changes_neither_output_nor_gradients(tiny_unet, random_inputs):
    unet = DynamiCrafterUNet(tiny_unet.arch._replace(dropout=0.0))
    unet.load_state_dict(tiny_unet.state_dict())
    inputs = random_inputs(frames=2)
    scales = tuple(0.5 + 0.1 * i for i in range(len(spatial(unet))))
    results = []
    for checkpointing in (False, True):
        unet.train()
        unet.gradient_checkpointing = checkpointing
        unet.zero_grad()
        out = unet(
            inputs.x,
            inputs.timesteps,
            inputs.text,
            inputs.image,
            inputs.speed,
            transformer_options={IMAGE_STRENGTHS: scales},
        )
        out.square().mean().backward()
        gradients = {k: p.grad.clone() for k, p in unet.named_parameters() if p.grad is not None}
        results.append((out.detach(), gradients))
    (plain, expected), (checkpointed, gradients) = results
    assert torch.equal(plain, checkpointed)
    assert gradients.keys() == expected.keys() == dict(unet.named_parameters()).keys()
    for name, gradient in gradients.items():
        close(gradient, expected[name], 1e-6)


def test_a_call_never_waits_for_the_device(tiny_arch):
    """On the meta device, where reading a number would fail, and copies to it show."""
    unet = DynamiCrafterUNet(tiny_arch, device="meta").eval()
    with torch.no_grad(), Crossings() as crossings:
        unet(
            torch.empty(1, tiny_arch.in_channels, 4, 8, 8, device="meta"),
            torch.empty(1, device="meta"),
            torch.empty(1, 77, tiny_arch.context_dim, device="meta"),
            torch.empty(1, 64, tiny_arch.context_dim, device="meta"),
            torch.empty(1, device="meta"),
        )
    assert crossings.found == []


def test_compiling_gives_one_graph_for_all_noise_levels_and_prompts(tiny_arch):
    torch._dynamo.reset()
    counters.clear()
    arch = tiny_arch._replace(channel_mult=(1,), attention_levels=(True,))
    unet = DynamiCrafterUNet(arch).eval()
    compiled = torch.compile(unet, backend="eager")
    for step in range(3):
        draw = torch.Generator().manual_seed(step)
        inputs = (
            torch.randn(1, arch.in_channels, 2, 8, 8, generator=draw),
            torch.tensor([900.0 - step]),
            torch.randn(1, 77, arch.context_dim, generator=draw),
            torch.randn(1, 32, arch.context_dim, generator=draw),
            torch.tensor([8]),
        )
        with torch.no_grad():
            torch.testing.assert_close(compiled(*inputs), unet(*inputs), atol=1e-5, rtol=1e-5)
    assert counters["graph_break"] == {}
    assert counters["stats"]["unique_graphs"] == 1
