"""Other families are named and refused, and forks of this one with them."""

import re

import pytest
import torch
from manifests import FULL_MANIFESTS

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.foreign import FOREIGN_FAMILIES, FORKS, UNKNOWN_FORK
from dc_model.checkpoint.layout import UNET_PREFIX, refuse_foreign, split_checkpoint


@pytest.fixture
def ours(load_manifest):
    """Key -> shape of a DynamiCrafter U-Net, with prefix."""
    return {k: s for k, s in load_manifest("dynamicrafter_512").keys.items() if UNET_PREFIX in k}


def image_unet(ours, *, in_channels=4, context=1024):
    """The U-Net of an image model: without temporal layers and speed embedding."""
    found = {}
    for key, shape in ours.items():
        if re.search(r"temopral_conv|init_attn|fps_embedding|_ip\.|put_blocks\.\d+\.2\.", key):
            continue
        if "middle_block.2." in key:
            continue
        if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            shape = (shape[0], context)
        found[key.replace("middle_block.3.", "middle_block.2.")] = shape
    first = UNET_PREFIX + "input_blocks.0.0.weight"
    return {**found, first: (320, in_channels, 3, 3)}


def keys(*names, prefix=""):
    return {prefix + name: (1,) for name in names}


HEADERS = {
    "LoRA": keys("lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"),
    "LoRA (peft)": keys("base_model.model.input_blocks.1.1.attn1.to_q.lora_A.weight"),
    "motion LoRA": keys("unet.mid_block.motion_modules.0.to_q_lora.lora.up.weight"),
    "ControlNet": keys("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.x"),
    "ControlNet (cldm)": keys("control_model.input_hint_block.0.weight"),
    "IP-Adapter": keys("ip_adapter.1.to_k_ip.weight", "image_proj.latents"),
    "AnimateDiff": keys("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"),
    "Stable Video Diffusion": keys(
        "input_blocks.0.0.weight", "input_blocks.1.0.time_mixer.mix_factor", prefix=UNET_PREFIX
    ),
    "Stable Video Diffusion (Diffusers)": keys(
        "down_blocks.0.attentions.0.temporal_transformer_blocks.0.norm1.weight"
    ),
    "Wan": keys("head.modulation", "blocks.0.self_attn.q.weight"),
    "HunyuanVideo": keys("txt_in.individual_token_refiner.blocks.0.norm1.weight"),
    "LTX-Video": keys("adaln_single.emb.timestep_embedder.linear_1.bias", "patchify_proj.bias"),
    "Mochi": keys("t5_yproj.weight"),
    "Cosmos": keys("net.blocks.block0.blocks.0.block.attn.to_q.0.weight"),
    "CogVideoX": keys("transformer_blocks.0.norm1.linear.weight", "patch_embed.proj.weight"),
    "CogVideoX (SAT)": keys("model.diffusion_model.mixins.patch_embed.proj.weight"),
    "Flux": keys("double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight"),
    "Stable Diffusion 3": keys("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.bias"),
    "Qwen-Image": keys("txt_norm.weight", "transformer_blocks.0.img_mlp.net.0.proj.weight"),
    "Diffusers": keys("down_blocks.0.resnets.0.conv1.weight"),
    "Analytic-Init": keys("Expectation_X0", "Tr_Cov_d"),
    "query transformer": keys("latents", "layers.0.0.to_kv.weight", prefix="image_proj_model."),
    "query transformer (bare)": keys("latents", "layers.0.0.to_kv.weight"),
    "averaged weights": keys(
        "model_ema.diffusion_modelinput_blocks00weight", "image_proj_model.latents"
    ),
    "VAE": keys("encoder.conv_in.weight", "decoder.conv_in.weight"),
    "VAE (prefixed)": keys("first_stage_model.decoder.conv_in.weight"),
    "VAE (Wan)": keys("decoder.conv1.weight", "decoder.middle.0.residual.0.gamma"),
    "image encoder": keys("vision_model.encoder.layers.0.mlp.fc1.weight"),
    "image encoder (OpenCLIP)": keys("visual.transformer.resblocks.0.ln_1.weight"),
    "text encoder": keys("text_model.encoder.layers.0.mlp.fc1.weight"),
    "text encoder (OpenCLIP)": keys(
        "cond_stage_model.model.transformer.resblocks.0.ln_1.weight",
        "cond_stage_model.model.token_embedding.weight",
    ),
    "text encoder (T5)": keys("encoder.block.0.layer.0.SelfAttention.q.weight"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_named_with_what_to_do_instead(name):
    with pytest.raises(CheckpointError) as error:
        refuse_foreign(HEADERS[name])
    assert name.split(" (")[0].removeprefix("motion ") in str(error.value)
    assert any(f.advice in str(error.value) for f in FOREIGN_FAMILIES)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"context": 768}, "Stable Diffusion 1,"),
        ({"context": 1024}, "Stable Diffusion 2,"),
        ({"context": 2048}, "Stable Diffusion XL,"),
        ({"context": 512}, "an image model"),
        ({"in_channels": 9, "context": 768}, "inpainting"),
        ({"in_channels": 9}, "inpainting"),
        ({"in_channels": 8, "context": 768}, "image-editing"),
    ],
)
def test_image_models(ours, changes, name):
    with pytest.raises(CheckpointError, match=name):
        refuse_foreign(image_unet(ours, **changes))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "model.model.diffusion_model.", "ema."])
def test_a_prefix_of_another_program_is_named(load_manifest, prefix):
    found = load_manifest("dynamicrafter_512").keys
    other = {k.replace(UNET_PREFIX, prefix): s for k, s in found.items()}
    with pytest.raises(CheckpointError, match=rf"begin with {re.escape(prefix)}, where .*choose"):
        refuse_foreign(other)
    unet = {k: s for k, s in other.items() if k.startswith(prefix)}
    with pytest.raises(CheckpointError, match=rf"begin with {re.escape(prefix)}, where .*choose"):
        refuse_foreign(unet)


def test_image_models_without_prefix(ours):
    bare = {k.removeprefix(UNET_PREFIX): s for k, s in image_unet(ours, context=768).items()}
    with pytest.raises(CheckpointError, match="Stable Diffusion 1,"):
        refuse_foreign(bare)


def test_modelscope(ours):
    added = keys("input_blocks.0.1.norm.weight", prefix=UNET_PREFIX)
    with pytest.raises(CheckpointError, match="ModelScope"):
        refuse_foreign({**ours, **added})


def test_the_sketch_controlnet_is_told_from_others(load_manifest):
    found = load_manifest("tooncrafter_sketch_controlnet").keys
    with pytest.raises(CheckpointError, match=r"sketch ControlNet.*sketch control node"):
        refuse_foreign(found)
    with pytest.raises(CheckpointError, match="a ControlNet"):
        refuse_foreign({**found, "input_hint_block.0.weight": (16, 3, 3, 3)})


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ("pose_encoder.unshuffle.weight", "camera-controlled"),
        ("input_blocks.1.2.transformer_blocks.0.cc_projection.weight", "camera-controlled"),
        ("layer_controlnet.input_blocks.0.0.weight", "layered"),
        ("action_embed.0.weight", "action-conditioned"),
        ("input_blocks.1.1.proj_in.scale_weight", "quantized"),
        ("input_blocks.1.1.proj_in.lora_A.default.weight", "LoRA"),
        ("something_new.weight", "unknown fork"),
        ("a_name_without_a_dot", "unknown fork"),
    ],
)
def test_forks_with_more_parts_are_named_not_half_loaded(ours, extra, kind):
    with pytest.raises(CheckpointError) as error:
        refuse_foreign({**ours, UNET_PREFIX + extra: (4,)})
    assert kind in str(error.value)
    assert extra in str(error.value)
    assert any(f.advice in str(error.value) for f in (*FORKS, UNKNOWN_FORK))


def test_a_fork_with_other_inputs(ours):
    wide = {**ours, UNET_PREFIX + "input_blocks.0.0.weight": (320, 12, 3, 3)}
    with pytest.raises(CheckpointError, match="12 input channels"):
        refuse_foreign(wide)


def test_an_incomplete_file_says_what_it_lacks(ours):
    lacking = UNET_PREFIX + "output_blocks.3.1.norm.weight"
    found = {k: s for k, s in ours.items() if k != lacking}
    with pytest.raises(CheckpointError, match=r"lacks 1 .*output_blocks\.3\.1\.norm\.weight"):
        refuse_foreign(found)


def test_keys_of_no_known_family():
    with pytest.raises(CheckpointError, match=r"foo\.weight.*choose a DynamiCrafter"):
        refuse_foreign(keys("foo.weight", "bar.bias"))


@pytest.mark.parametrize("manifest", FULL_MANIFESTS)
def test_every_published_layout_passes(load_manifest, manifest):
    refuse_foreign(load_manifest(manifest).keys)


def test_a_bundled_controlnet_does_not_hide_the_unet(ours):
    refuse_foreign({**ours, "control_model.input_hint_block.0.weight": (16, 1, 3, 3)})


def test_splitting_refuses_first(ours):
    tensors = {k: torch.empty(s, device="meta") for k, s in image_unet(ours, context=768).items()}
    with pytest.raises(CheckpointError, match="Stable Diffusion 1"):
        split_checkpoint(tensors)
