"""Unwrapping, renaming and splitting of checkpoint files."""

import pytest
import torch

from dc_model.checkpoint.detect import detect_variant
from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.layout import (
    DEEPSPEED_PREFIX,
    FLOATING,
    UNET_PREFIX,
    CheckpointParts,
    encode_variant,
    refuse_foreign,
    rename,
    require_floating,
    shapes,
    split_checkpoint,
    stated_variant,
    unwrap,
)


@pytest.fixture
def full(load_manifest):
    """A full checkpoint of the 256 model."""
    return load_manifest("dynamicrafter_256").state_dict()


def sizes(parts: CheckpointParts):
    return [
        len(part)
        for part in (
            parts.unet,
            parts.vae,
            parts.text_encoder,
            parts.image_encoder,
            parts.projector,
            parts.buffers,
            parts.other,
        )
    ]


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("dynamicrafter_256", (248, True, True)),
        ("tooncrafter_512_interp", (396, True, True)),
        ("videocrafter1_i2v_512", (248, True, True)),
        ("videocrafter2_t2v_512", (248, False, False)),
    ],
)
def test_every_key_finds_its_part(load_manifest, manifest, expected):
    keys = load_manifest(manifest).keys
    parts = split_checkpoint(load_manifest(manifest).state_dict())
    assert sum(sizes(parts)) == len(keys)
    assert not parts.other
    vae, image_encoder, projector = expected
    assert len(parts.vae) == vae == sum(k.startswith("first_stage_model.") for k in keys)
    assert bool(parts.image_encoder) == image_encoder
    assert bool(parts.projector) == projector
    assert "model.transformer.resblocks.0.ln_1.weight" in parts.text_encoder
    assert not image_encoder or "model.visual.conv1.weight" in parts.image_encoder
    assert {"encoder.conv_in.weight", "quant_conv.weight"} <= parts.vae.keys()
    assert "alphas_cumprod" in parts.buffers


def test_weights_are_passed_on_and_buffers_copied(full):
    parts = split_checkpoint(full)
    assert torch.equal(parts.buffers["alphas_cumprod"], full["alphas_cumprod"])
    assert parts.buffers["alphas_cumprod"].data_ptr() != full["alphas_cumprod"].data_ptr()
    name = "input_blocks.0.0.weight"
    assert parts.unet[name] is full[UNET_PREFIX + name]


def test_the_published_256_spelling_of_the_speed_embedding(full):
    published = {k.replace("fps_embedding", "framestride_embed"): v for k, v in full.items()}
    assert published.keys() != full.keys()
    parts = split_checkpoint(published)
    assert shapes(parts.unet) == shapes(split_checkpoint(full).unet)
    assert detect_variant(parts.evidence(), {}, "model.ckpt").variant == "256"


def test_a_deepspeed_file(full):
    module = {DEEPSPEED_PREFIX + k: v for k, v in full.items()}
    loaded = {"module": module, "dp_world_size": 8, "optimizer": None}
    assert sizes(split_checkpoint(unwrap(loaded))) == sizes(split_checkpoint(full))


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_a_model_saved_in_what_wrapped_it(full, prefix):
    wrapped = split_checkpoint({prefix + k: v for k, v in full.items()})
    assert sizes(wrapped) == sizes(split_checkpoint(full))
    bare = {k.removeprefix(UNET_PREFIX): v for k, v in full.items() if k.startswith(UNET_PREFIX)}
    assert split_checkpoint({prefix + k: v for k, v in bare.items()}).unet.keys() == bare.keys()


@pytest.mark.parametrize("loaded", [{"model": ...}, {"module": {"model": ...}}])
def test_a_file_that_keeps_its_tensors_as_a_model(full, loaded):
    def filled(value):
        return full if value is ... else {k: filled(v) for k, v in value.items()}

    assert unwrap({**filled(loaded), "epoch": 3}).keys() == full.keys()


def test_a_trainers_file(full):
    loaded = {"state_dict": {**full, "note": "x"}, "epoch": 3, "callbacks": {}}
    assert unwrap(loaded).keys() == full.keys()


def test_a_flat_file(full):
    assert unwrap(full) == full


def test_a_bare_unet_and_one_with_its_projector(full):
    bare = {k.removeprefix(UNET_PREFIX): v for k, v in full.items() if k.startswith(UNET_PREFIX)}
    parts = split_checkpoint(bare)
    assert parts.unet.keys() == bare.keys()
    assert not parts.other
    projector = {k: v for k, v in full.items() if k.startswith("image_proj_model.")}
    parts = split_checkpoint({**bare, **projector})
    assert parts.unet.keys() == bare.keys()
    assert len(parts.projector) == len(projector) > 0


def test_unet_and_projector_only(full):
    keep = ("model.diffusion_model.", "image_proj_model.")
    parts = split_checkpoint({k: v for k, v in full.items() if k.startswith(keep)})
    assert parts.unet
    assert parts.projector
    assert not (parts.vae or parts.text_encoder or parts.image_encoder or parts.buffers)


def test_averaged_weights_of_a_trainer_are_set_aside(full):
    averaged = {**full, "model_ema.decay": torch.tensor(0.9)}
    assert split_checkpoint(averaged).other.keys() == {"model_ema.decay"}


def test_one_tensor_under_two_spellings_is_an_error(full):
    name = UNET_PREFIX + "fps_embedding.0.weight"
    twice = {**full, name.replace("fps_embedding", "framestride_embed"): full[name]}
    with pytest.raises(CheckpointError, match="twice"):
        split_checkpoint(twice)


@pytest.mark.parametrize("loaded", [{}, {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_a_file_without_tensors_is_no_checkpoint(loaded):
    with pytest.raises(CheckpointError, match="no tensors"):
        unwrap(loaded)


def test_rename_leaves_other_keys_alone():
    assert rename("first_stage_model.encoder.conv_in.weight") == (
        "first_stage_model.encoder.conv_in.weight"
    )
    assert rename("_forward_module.betas") == "betas"
    assert rename("model.diffusion_model.framestride_embed.0.bias") == (
        "model.diffusion_model.fps_embedding.0.bias"
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_precision_does_not_matter(full, dtype):
    small = {k: v if v.device.type == "cpu" else v.to(dtype) for k, v in full.items()}
    parts = split_checkpoint(small)
    assert detect_variant(parts.evidence(), {}, "model.ckpt").variant == "256"


def test_the_header_alone_is_enough_to_refuse_or_pass(load_manifest):
    refuse_foreign(load_manifest("dynamicrafter_512").keys)
    with pytest.raises(CheckpointError, match="VAE"):
        refuse_foreign({"decoder.conv_in.weight": (512, 4, 3, 3)})


def test_a_saved_variant_reads_back():
    assert stated_variant({"dynamicrafter_variant": encode_variant("cil_1024")}) == "cil_1024"
    assert stated_variant({}) is None
    assert stated_variant({"dynamicrafter_variant": torch.zeros(3)}) is None


REFUSED_TYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16),
    *(torch.complex64, torch.complex128),
)
WEIGHTS = {
    "U-Net": UNET_PREFIX + "out.2.bias",
    "VAE": "first_stage_model.decoder.conv_in.weight",
    "text encoder": "cond_stage_model.model.ln_final.weight",
    "image encoder": "embedder.model.visual.ln_post.weight",
    "query transformer": "image_proj_model.proj_out.weight",
    "noise schedule": "alphas_cumprod",
}


@pytest.mark.parametrize("part", list(WEIGHTS))
def test_weights_of_other_than_floating_numbers_are_refused(full, part):
    key = WEIGHTS[part]
    full = {**full, key: full.get(key, torch.ones(1)).to(torch.int64)}
    with pytest.raises(CheckpointError, match=f"{part} has .* of type torch.int64.*choose"):
        split_checkpoint(full)


@pytest.mark.parametrize("dtype", REFUSED_TYPES, ids=str)
def test_every_other_type_is_refused(dtype):
    with pytest.raises(CheckpointError, match=f"VAE has a of type {dtype}.*choose"):
        require_floating({"a": torch.ones(1).to(dtype)}, "VAE")


@pytest.mark.parametrize("dtype", sorted(FLOATING, key=str), ids=str)
def test_weights_of_floating_numbers_pass(dtype):
    require_floating({"a": torch.ones(1).to(dtype)}, "VAE")


def test_a_buffer_that_nothing_reads_may_be_of_any_type(full):
    """PyTorch copies no numbers of 4 bits."""
    odd = torch.zeros(4, dtype=torch.uint8).view(getattr(torch, "int4", torch.bits8))
    assert split_checkpoint({**full, "odd": odd}).buffers["odd"] is odd


def test_counters_of_a_text_encoder_pass(full):
    key = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    assert split_checkpoint({**full, key: torch.arange(77)}).text_encoder
