"""The host's patch points: what stock nodes' functions are given and that their answers count."""

import pytest
import torch

from dc_model.unet.ops import sdpa
from dc_model.unet.patches import add_control, apply_each, attention_options, replacement
from dc_model.unet.transformers import SpatialTransformer

FRAMES = 4


@pytest.fixture
def inputs(random_inputs):
    return random_inputs(batch=2, frames=FRAMES)


def patched(unet, inputs, **options):
    return inputs.call(unet, transformer_options=options)


def spatial_layers(unet):
    return [m for m in unet.modules() if isinstance(m, SpatialTransformer)]


def test_no_patch_changes_nothing(tiny_unet, inputs):
    assert torch.equal(patched(tiny_unet, inputs, patches={}), inputs.call(tiny_unet))


def test_options_say_where_a_patch_runs(tiny_unet, inputs):
    seen = []

    def look(n, extra):
        seen.append((extra["block"], extra["block_index"], extra["transformer_index"]))
        assert "patches" not in extra
        assert extra["n_heads"] * extra["dim_head"] == n.shape[-1]
        assert extra["original_shape"] == [2 * FRAMES, 8, 8, 8]
        assert extra["activations_shape"][0] == n.shape[0] == 2 * FRAMES
        height, width = extra["activations_shape"][2:]
        assert n.shape[1] == height * width
        return n

    patched(tiny_unet, inputs, patches={"attn1_output_patch": [look]})
    assert [index for _, _, index in seen] == list(range(len(spatial_layers(tiny_unet))))
    assert [block for block, _, _ in seen] == [
        ("input", 1),
        ("input", 3),
        ("middle", 0),
        ("output", 0),
        ("output", 1),
        ("output", 2),
        ("output", 3),
    ]


def test_freeu_style_output_block_patch(tiny_unet, inputs):
    """FreeU scales features and skips of the decoder by their channel count."""
    calls = []

    def scale(h, skip, options):
        calls.append((options["block"], h.shape, skip.shape))
        return h * 1.2, skip * 0.9

    out = patched(tiny_unet, inputs, patches={"output_block_patch": [scale]})
    assert [block for block, _, _ in calls] == [("output", i) for i in range(4)]
    assert all(h[0] == skip[0] == 2 * FRAMES for _, h, skip in calls)
    assert all(h[2:] == skip[2:] for _, h, skip in calls)
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["input_block_patch", "input_block_patch_after_skip"])
def test_input_block_patches(tiny_unet, inputs, name):
    calls = []

    def scale(h, options):
        calls.append(options["block"])
        return h * 1.5

    out = patched(tiny_unet, inputs, patches={name: [scale]})
    assert calls == [("input", i) for i in range(len(tiny_unet.input_blocks))]
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-2


def test_input_block_patch_reaches_the_skip_and_the_other_does_not(tiny_unet, inputs):
    def collect(name):
        skips = []

        def zero(h, options):
            return h * 0 if options["block"] == ("input", 0) else h

        def look(h, skip, options):
            if options["block"] == ("output", 3):  # takes the skip of input block 0
                skips.append(skip)
            return h, skip

        patched(tiny_unet, inputs, patches={name: [zero], "output_block_patch": [look]})
        return skips[0]

    assert collect("input_block_patch").abs().max() == 0
    assert collect("input_block_patch_after_skip").abs().max() > 0


def test_middle_block_patch(tiny_unet, inputs):
    def zero(arguments):
        assert arguments["emb"].shape[0] == arguments["h"].shape[0] == 2 * FRAMES
        assert torch.equal(arguments["timesteps"], inputs.timesteps)
        return {"h": arguments["h"] * 0}

    out = patched(tiny_unet, inputs, patches={"middle_block_after_patch": [zero]})
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-2


def test_embedding_patch(tiny_unet, inputs):
    def shift(embedding, width, options):
        assert embedding.shape == (2 * FRAMES, 4 * width)
        return embedding + 1

    out = patched(tiny_unet, inputs, patches={"emb_patch": [shift]})
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-2


def test_attention_replacements_that_attend_plainly_change_nothing(tiny_unet, inputs):
    calls = []

    def attend(q, k, v, extra):
        calls.append((q.shape[0], k.shape[0], v.shape[0]))
        return sdpa(q, k, v, extra["n_heads"], {})

    plain = inputs.call(tiny_unet)
    blocks = [("input", 1), ("input", 3), ("middle", 0), *(("output", i) for i in range(4))]
    for name in ("attn1", "attn2"):
        calls.clear()
        replace = {name: {block: attend for block in blocks}}
        out = patched(tiny_unet, inputs, patches_replace=replace)
        torch.testing.assert_close(out, plain, atol=1e-5, rtol=0)
        # Stock replacements pair rows of queries with rows of keys: one per frame.
        assert calls == [(2 * FRAMES,) * 3] * len(blocks)


def test_perturbed_attention_replaces_only_its_block(tiny_unet, inputs):
    """PerturbedAttentionGuidance: values instead of attention, in the middle block."""
    seen = []

    def values(q, k, v, extra):
        seen.append(extra["block"])
        return v

    replace = {"attn1": {("middle", 0, 0): values}}
    out = patched(tiny_unet, inputs, patches_replace=replace)
    assert seen == [("middle", 0)]
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-4


def test_exact_replacement_wins_over_its_block():
    options = {
        "block": ("input", 1),
        "block_index": 0,
        "patches_replace": {"attn1": {("input", 1): "block", ("input", 1, 0): "exact"}},
    }
    assert replacement(options, "attn1") == "exact"
    assert replacement({**options, "block_index": 1}, "attn1") == "block"
    assert replacement(options, "attn2") is None


def test_attn1_patch_gets_and_gives_query_key_value(tiny_unet, inputs):
    def merge(q, k, v, extra):
        assert q.shape == k.shape == v.shape
        return q, k * 0, v

    out = patched(tiny_unet, inputs, patches={"attn1_patch": [merge]})
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-3


def test_attn2_patch_gets_a_row_of_text_per_frame(tiny_unet, inputs):
    rows = []

    def look(n, key, value, extra):
        rows.append((n.shape[0], key.shape[0], value.shape[0]))
        return n, key, value

    out = patched(tiny_unet, inputs, patches={"attn2_patch": [look]})
    assert set(rows) == {(2 * FRAMES,) * 3}
    torch.testing.assert_close(out, inputs.call(tiny_unet), atol=1e-5, rtol=0)


def test_attn2_patch_can_exchange_the_text(tiny_unet, inputs):
    other = torch.randn(2, 30, 32, generator=torch.Generator().manual_seed(9))

    def exchange(n, key, value, extra):
        rows = other.repeat_interleave(FRAMES, dim=0)
        return n, rows, rows

    out = patched(tiny_unet, inputs, patches={"attn2_patch": [exchange]})
    torch.testing.assert_close(out, inputs.call(tiny_unet, context=other), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["attn1_output_patch", "attn2_output_patch", "middle_patch"])
def test_output_patches_change_the_output(tiny_unet, inputs, name):
    out = patched(tiny_unet, inputs, patches={name: [lambda n, _: n * 0.5]})
    assert (out - inputs.call(tiny_unet)).abs().max() > 1e-4


class TestControl:
    @staticmethod
    def residuals(unet, value):
        """Residuals as an SD 2.x ControlNet gives them for one frame size of 8 by 8."""
        x = torch.full((2 * FRAMES, 32, 8, 8), value)
        small = torch.full((2 * FRAMES, 64, 4, 4), value)
        skips = [x, x, x[:, :, ::2, ::2], small]
        assert len(skips) == len(unet.input_blocks)
        return {"input": [], "middle": [small.clone()], "output": skips}

    def test_zeros_change_nothing(self, tiny_unet, inputs):
        out = inputs.call(tiny_unet, control=self.residuals(tiny_unet, 0.0))
        assert torch.equal(out, inputs.call(tiny_unet))

    def test_residuals_change_the_output(self, tiny_unet, inputs):
        control = self.residuals(tiny_unet, 0.5)
        out = inputs.call(tiny_unet, control=control)
        assert (out - inputs.call(tiny_unet)).abs().max() > 1e-2
        assert all(not left for left in control.values())  # each was used once

    def test_the_last_residual_belongs_to_the_last_skip(self, tiny_unet, inputs):
        control = self.residuals(tiny_unet, 0.0)
        control["output"][0] = torch.full((2 * FRAMES, 32, 8, 8), 5.0)
        skips = []

        def look(h, skip, options):
            skips.append(skip)
            return h, skip

        def run(control):
            skips.clear()
            options = {"patches": {"output_block_patch": [look]}}
            inputs.call(tiny_unet, control=control, transformer_options=options)
            return list(skips)

        with_control, without = run(control), run(None)
        assert all(torch.equal(a, b) for a, b in zip(with_control[:3], without[:3], strict=True))
        torch.testing.assert_close(with_control[3], without[3] + 5, atol=1e-5, rtol=0)

    def test_absent_residuals_are_skipped(self, tiny_unet, inputs):
        control = {"input": [], "middle": [None], "output": [None] * 4}
        assert torch.equal(inputs.call(tiny_unet, control=control), inputs.call(tiny_unet))

    def test_a_residual_that_does_not_fit_says_so(self, tiny_unet, inputs):
        control = {"middle": [torch.zeros(2 * FRAMES, 48, 4, 4)]}
        with pytest.raises(ValueError, match=r"middle.*48.*64.*SD 2"):
            inputs.call(tiny_unet, control=control)

    def test_another_frame_size_does_not_fit(self):
        with pytest.raises(ValueError, match="output"):
            add_control(torch.zeros(4, 32, 8, 8), {"output": [torch.zeros(4, 32, 8, 16)]}, "output")

    def test_one_row_serves_all_frames_and_two_of_four_are_refused(self):
        x = torch.zeros(4, 32, 8, 8)
        out = add_control(x, {"output": [torch.ones(1, 32, 8, 8)]}, "output")
        assert torch.equal(out, x + 1)
        with pytest.raises(ValueError, match="one for each"):
            add_control(x, {"output": [torch.ones(2, 32, 8, 8)]}, "output")


def test_apply_each_runs_in_order():
    def double(x, _):
        return x * 2

    def add(x, n):
        return x + n

    assert float(apply_each([double, add], torch.tensor(3.0), 1)) == 7.0


def test_attention_patches_get_the_heads_and_full_precision():
    options = {"patches": {}, "patches_replace": {}, "block": ("input", 1)}
    assert attention_options(options, 5, 64) == {
        "block": ("input", 1),
        "n_heads": 5,
        "dim_head": 64,
        "attn_precision": torch.float32,
    }
