"""Which variant a checkpoint is, by metadata, buffers, keys, shapes and name."""

import json

import pytest
import torch
from small_archs import small_unet

from dc_model.checkpoint.detect import (
    METADATA_KEY,
    Evidence,
    detect_unet_arch,
    detect_variant,
    read_metadata,
)
from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.layout import UNET_PREFIX, shapes, split_checkpoint
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS

BUFFERLESS_NAME = "model.safetensors"

BY_BUFFERS = {
    "dynamicrafter_256": "256",
    "dynamicrafter_512": "512",
    "dynamicrafter_1024": "1024",
    "dynamicrafter_512_interp": "512",  # identical to 512; its name decides
    "tooncrafter_512_interp": "toon_512",
    "videocrafter1_i2v_512": "videocrafter1_i2v",
    "videocrafter1_t2v_1024": "videocrafter1_1024",
    "videocrafter1_t2v_512": "videocrafter1_512",
    "videocrafter2_t2v_512": "videocrafter2",
}


def parts_of(load_manifest, name, *, keep=("",), drop=()):
    state_dict = load_manifest(name).state_dict()
    return split_checkpoint(
        {k: v for k, v in state_dict.items() if k.startswith(keep) and not k.startswith(drop)}
    )


def pruned(load_manifest, name):
    """U-Net, VAE and query transformer, no buffers, as community files keep them."""
    keep = ("model.diffusion_model.", "first_stage_model.", "image_proj_model.")
    return parts_of(load_manifest, name, keep=keep)


@pytest.mark.parametrize(("manifest", "variant"), BY_BUFFERS.items())
def test_full_checkpoints_prove_their_variant(load_manifest, manifest, variant):
    found = detect_variant(parts_of(load_manifest, manifest).evidence(), {}, "model.ckpt")
    assert found.variant == variant
    # 512 and 1024 have relatives that are built alike.
    if variant in ("512", "1024"):
        assert found.assumption is not None
        assert f"cil_{variant}" in found.assumption
        assert "model.ckpt" in found.assumption
    else:
        assert found.assumption is None


@pytest.mark.parametrize(
    ("manifest", "file_name", "variant"),
    [
        ("dynamicrafter_512", "dynamicrafter_512.ckpt", "512"),
        ("dynamicrafter_512_interp", "dynamicrafter_512_interp_v1.ckpt", "512_interp"),
        ("dynamicrafter_512", "dynamicrafter-CIL-512-no-watermark-fixed-pruned.ckpt", "cil_512"),
        ("dynamicrafter_1024", "dynamicrafter-CIL-1024-no-watermark.ckpt", "cil_1024"),
        ("dynamicrafter_1024", "ViewCrafter_16.ckpt", "viewcrafter_16"),
    ],
)
def test_names_decide_between_equal_layouts_and_say_so(load_manifest, manifest, file_name, variant):
    found = detect_variant(parts_of(load_manifest, manifest).evidence(), {}, file_name)
    assert found.variant == variant
    assert found.assumption == f"variant {variant}, by the file's name ({file_name})"


@pytest.mark.parametrize(
    ("manifest", "file_name", "variant"),
    [
        ("dynamicrafter_1024", "dynamicrafter_512_interp.ckpt", "1024"),
        ("dynamicrafter_512", "dynamicrafter_1024.ckpt", "512"),
        ("dynamicrafter_256", "dynamicrafter_1024.ckpt", "256"),
        ("tooncrafter_512_interp", "interp.ckpt", "toon_512"),
        ("videocrafter2_t2v_512", "videocrafter_1024.ckpt", "videocrafter2"),
    ],
)
def test_buffers_and_keys_win_over_names(load_manifest, manifest, file_name, variant):
    found = detect_variant(parts_of(load_manifest, manifest).evidence(), {}, file_name)
    assert found.variant == variant
    assert "by the file's name" not in (found.assumption or "")


@pytest.mark.parametrize(
    ("manifest", "file_name", "variant"),
    [
        ("dynamicrafter_512", "dynamicrafter_512_fp16_pruned.safetensors", "512"),
        ("dynamicrafter_1024", "dynamicrafter_1024_v1_bf16.safetensors", "1024"),
        ("dynamicrafter_512_interp", "dynamicrafter_512_interp_v1_bf16.safetensors", "512_interp"),
        (
            "dynamicrafter_512",
            "dynamicrafter-CIL-512-no-watermark-pruned-fp16.safetensors",
            "cil_512",
        ),
        ("dynamicrafter_1024", "DynamiCrafter-CIL-1024-pruned.safetensors", "cil_1024"),
        ("dynamicrafter_1024", "ViewCrafter_16_pruned.safetensors", "viewcrafter_16"),
        ("dynamicrafter_512", "cartoon_512.safetensors", "512"),  # a fine-tune, no ToonCrafter
    ],
)
def test_pruned_files_go_by_their_name_and_say_so(load_manifest, manifest, file_name, variant):
    found = detect_variant(pruned(load_manifest, manifest).evidence(), {}, file_name)
    assert found.variant == variant
    assert found.assumption is not None
    assert variant in found.assumption
    assert file_name in found.assumption


@pytest.mark.parametrize(
    ("manifest", "variant"),
    [
        ("dynamicrafter_256", "256"),
        ("tooncrafter_512_interp", "toon_512"),
        ("videocrafter1_i2v_512", "videocrafter1_i2v"),
        ("videocrafter1_t2v_1024", "videocrafter1_1024"),
        ("videocrafter1_t2v_512", "videocrafter1_512"),
        ("videocrafter2_t2v_512", "videocrafter2"),
    ],
)
def test_telling_layouts_need_neither_buffers_nor_name(load_manifest, manifest, variant):
    found = detect_variant(pruned(load_manifest, manifest).evidence(), {}, BUFFERLESS_NAME)
    assert (found.variant, found.assumption) == (variant, None)


@pytest.mark.parametrize("buffers", [True, False])
def test_a_toon_unet_without_its_vae_goes_by_name(load_manifest, buffers):
    drop = ("first_stage_model.",) if buffers else ("first_stage_model.", "scale_arr", "alphas_")
    parts = parts_of(load_manifest, "tooncrafter_512_interp", drop=drop)
    assert ("scale_arr" in parts.buffers) == buffers
    found = detect_variant(parts.evidence(), {}, "tooncrafter_512_interp-pruned-fp16.safetensors")
    assert found.variant == "toon_512"
    assert found.assumption is not None


def test_nothing_telling_lists_the_choices(load_manifest):
    with pytest.raises(CheckpointError) as error:
        detect_variant(pruned(load_manifest, "dynamicrafter_512").evidence(), {}, BUFFERLESS_NAME)
    assert all(name in str(error.value) for name in (*VARIANTS, "variant"))
    assert BUFFERLESS_NAME not in str(error.value)  # the loader begins its messages with it


@pytest.mark.parametrize(
    ("manifest", "path", "variant"),
    [
        ("dynamicrafter_1024", "DynamiCrafter-CIL-1024/model.safetensors", "cil_1024"),
        ("dynamicrafter_512_interp", "DynamiCrafter_512_Interp/model.ckpt", "512_interp"),
        ("dynamicrafter_1024", "DynamiCrafter_1024/model.safetensors", "1024"),
        ("dynamicrafter_512", "video\\CIL-512\\fp16\\model.safetensors", "cil_512"),
        ("dynamicrafter_1024", "CIL-512/DynamiCrafter-CIL-1024/model.ckpt", "cil_1024"),
        ("dynamicrafter_1024", "CIL-1024/ViewCrafter_16.ckpt", "viewcrafter_16"),
    ],
)
@pytest.mark.parametrize("without_buffers", [True, False])
def test_folders_name_what_files_do_not(load_manifest, manifest, path, variant, without_buffers):
    """The published files are all called model.ckpt; the nearest name counts."""
    parts = (pruned if without_buffers else parts_of)(load_manifest, manifest)
    found = detect_variant(parts.evidence(), {}, path)
    assert found.variant == variant
    place = "file" if path.startswith("CIL-1024/") else "folder"
    assert f"by the {place}'s name" in (found.assumption or "")


@pytest.mark.parametrize(
    ("manifest", "variant"),
    [("dynamicrafter_512", "videocrafter2"), ("videocrafter2_t2v_512", "512")],
)
def test_a_statement_of_other_inputs_is_refused(load_manifest, manifest, variant):
    stated = read_metadata({METADATA_KEY: json.dumps({"variant": variant})})
    with pytest.raises(CheckpointError, match=f"input channels.*{variant}.*set `variant`"):
        detect_variant(parts_of(load_manifest, manifest).evidence(), stated, "x")


@pytest.mark.parametrize(
    ("scale", "known"),
    [(0.7, True), (0.7091, True), (0.6909, True), (0.7109, False), (0.6891, False), (0.3, False)],
)
def test_a_base_scale_is_known_within_half_precision(scale, known):
    assert Evidence(unet={}, base_scale=scale).scale_is(0.7) == known


def test_25_frames_of_queries_are_viewcrafter_25(load_manifest):
    parts = parts_of(load_manifest, "dynamicrafter_1024")
    parts.projector["latents"] = torch.empty(1, 25 * 16, 1024, device="meta")
    assert detect_variant(parts.evidence(), {}, "model.ckpt").variant == "viewcrafter_25"


def test_half_precision_buffers_still_tell(load_manifest):
    parts = parts_of(load_manifest, "dynamicrafter_1024")
    parts.buffers["scale_arr"] = parts.buffers["scale_arr"].half()
    assert detect_variant(parts.evidence(), {}, "model.ckpt").variant == "1024"


def test_metadata_wins_over_everything(load_manifest):
    evidence = parts_of(load_manifest, "dynamicrafter_1024").evidence()
    stated = read_metadata({METADATA_KEY: json.dumps({"variant": "512_interp"})})
    assert detect_variant(evidence, stated, "cil-1024.ckpt").variant == "512_interp"


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {METADATA_KEY: ""}])
def test_no_metadata_states_nothing(metadata):
    assert read_metadata(metadata) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is not JSON"),
        ("[1]", "not a JSON object"),
        ('{"variant": "2048"}', "2048.*256"),
    ],
)
def test_broken_metadata_says_what_is_wrong(text, message):
    with pytest.raises(CheckpointError, match=message):
        read_metadata({METADATA_KEY: text})


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_can_be_stated(variant):
    stated = read_metadata({METADATA_KEY: json.dumps({"variant": variant})})
    assert detect_variant(Evidence(unet={}), stated, "x").variant == variant


class TestArch:
    @pytest.mark.parametrize("manifest", BY_BUFFERS)
    def test_published_dimensions(self, load_manifest, manifest):
        params = load_manifest(manifest).params["unet_config"]["params"]
        arch = detect_unet_arch(load_manifest(manifest).part(UNET_PREFIX))
        image = params.get("image_cross_attention", params.get("use_image_attention", False))
        speed = params.get("fs_condition", params.get("fps_cond", False))
        learnable = params.get("image_cross_attention_scale_learnable", False)
        assert arch.in_channels == params["in_channels"]
        assert arch.out_channels == params["out_channels"]
        assert arch.model_channels == params["model_channels"]
        assert arch.channel_mult == tuple(params["channel_mult"])
        assert arch.num_res_blocks == params["num_res_blocks"]
        assert arch.attention_levels == (True, True, True, False)
        assert arch.head_dim == params["num_head_channels"]
        assert arch.transformer_depth == params["transformer_depth"]
        assert arch.context_dim == params["context_dim"]
        assert arch.temporal_conv == params["temporal_conv"]
        assert arch.relative_position == params["use_relative_position"]
        assert arch.temporal_length == params["temporal_length"]
        assert arch.init_attention == params["addition_attention"]
        assert arch.image_cross_attention == image
        assert arch.speed_condition == speed
        assert arch.learnable_image_scale == learnable

    def test_stated_head_width_wins(self, load_manifest):
        found = load_manifest("dynamicrafter_512").part(UNET_PREFIX)
        assert detect_unet_arch(found, 32).head_dim == 32

    @pytest.mark.parametrize("width", [0, 24])
    def test_a_middle_block_that_no_heads_make_is_refused(self, width):
        # Of the second level, 64 wide, only the middle block attends.
        unet = DynamiCrafterUNet(small_unet(), device="meta")
        found = {
            key: tuple(width if size == 64 else size for size in shape)
            for key, shape in shapes(unet.state_dict()).items()
        }
        message = f"width of {width} is not made of heads of 16"
        with pytest.raises(CheckpointError, match=message):
            detect_unet_arch(found, 16)

    def test_a_missing_defining_key_is_named(self, tiny_unet):
        found = shapes(tiny_unet.state_dict())
        del found["out.2.weight"]
        with pytest.raises(CheckpointError, match=r"out\.2\.weight"):
            detect_unet_arch(found)
