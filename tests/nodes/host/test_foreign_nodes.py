"""Stock nodes for other models: what they read off a model, and where they leave patches."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.ops
import pytest
from pack.dc_model.variants import UNetArch
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.host.foreign_nodes import (
    ELSEWHERE,
    check_conditions,
    refuse_boxes,
    refuse_patches,
)
from pack.nodes.host.model import HostUNet

# What nodes for one other network read off it.
OTHERS = {
    "default_ref_method",  # Flux, only set
    "heatmap_head",  # SDPose
    "params",  # Flux, asked for first
    "q_token_length",  # TripoSplat
}
# Patch points that a U-Net calls.
CALLED = {
    "attn1_output_patch",
    "attn1_patch",
    "attn2_output_patch",
    "attn2_patch",
    "emb_patch",
    "input_block_patch",
    "input_block_patch_after_skip",
    "middle_block_after_patch",
    "output_block_patch",
}


@pytest.fixture(scope="module")
def unet() -> HostUNet:
    return HostUNet(arch=UNetArch(), operations=comfy.ops.disable_weight_init, device="meta")


def test_the_unet_has_what_stock_nodes_read_off_one(comfyui: Path, unet: HostUNet) -> None:
    files = [*(comfyui / "comfy_extras").glob("*.py"), comfyui / "nodes.py"]
    read = {
        name
        for file in files
        for name in re.findall(
            r"model\.model\.diffusion_model\.(\w+)", file.read_text(encoding="utf-8")
        )
    }
    assert "in_channels" in read
    assert {name for name in read - OTHERS if not hasattr(unet, name)} == set()
    assert {name for name in OTHERS if hasattr(unet, name)} == set()


def test_every_patch_point_of_the_host_is_called_or_refused(comfyui: Path) -> None:
    source = (comfyui / "comfy" / "model_patcher.py").read_text(encoding="utf-8")
    named = set(re.findall(r'self\.set_model_patch\(patch, "(\w+)"\)', source))
    assert len(named) > 8
    assert named <= CALLED | ELSEWHERE
    assert not CALLED & ELSEWHERE


def patched(name: str, patch: Any) -> Any:
    """A patcher with one patch."""
    return SimpleNamespace(model_options={"transformer_options": {"patches": {name: [patch]}}})


class ControlPatch:
    """A patch that the host keeps beside a network of its own."""


ControlPatch.__module__ = "comfy.ldm.other.control"


@pytest.mark.parametrize("rows", [1, 16])
def test_a_patch_that_would_do_nothing_is_refused_by_name(rows: int) -> None:
    def control(*_: Any) -> None: ...

    for name in ELSEWHERE:
        with pytest.raises(InputError, match=f"for {name}, which a U-Net does not have.*take it"):
            refuse_patches(patched(name, control), rows)
    with pytest.raises(InputError, match="gives the model ControlPatch for attn2_patch"):
        refuse_patches(patched("attn2_patch", ControlPatch()), rows)
    for name in CALLED:
        refuse_patches(patched(name, control), rows)
    refuse_patches(SimpleNamespace(model_options={}), rows)
    refuse_patches(None, rows)


def test_text_boxes_of_another_width_are_refused() -> None:
    boxes = ("position", SimpleNamespace(model=SimpleNamespace(key_dim=768)), [])
    with pytest.raises(InputError, match=r"768 channels, this model has 1024.*take it out"):
        refuse_boxes({"gligen": boxes}, 1024)
    refuse_boxes({"gligen": boxes}, 768)
    refuse_boxes({}, 1024)


def test_conditions_for_other_models_end_before_the_run() -> None:
    def prepare(*given: Any, **_: Any) -> Any:
        return given

    good = {"positive": [{"area": ("percentage", 0.5, 1.0, 0.0, 0.0)}, {}], "negative": None}
    assert check_conditions(prepare, "model", (4, 4, 8, 8), good) == ("model", (4, 4, 8, 8), good)
    in_time = {"positive": [{"area": ("percentage", 1.0, 0.5, 1.0, 0.0, 0.0, 0.0)}]}
    with pytest.raises(InputError, match=r"extent in time.*use ConditioningSetAreaPercentage"):
        check_conditions(prepare, "model", (4, 4, 8, 8), in_time)
    inpainted = {"positive": [{}], "negative": [{"concat_mask": object()}]}
    with pytest.raises(InputError, match=r"mask beside its image.*use Set Latent Noise Mask"):
        check_conditions(prepare, "model", (4, 4, 8, 8), inpainted)


def test_prompts_for_videos_of_different_lengths_are_refused() -> None:
    def ready(*lengths: dict[str, int], rows: int) -> Any:
        conds = {str(i): [values] for i, values in enumerate(lengths)}
        return check_conditions(lambda *_: "ready", "model", (rows, 4, 8, 8), conds)

    four, two = {keys.NUM_FRAMES: 4}, {keys.NUM_FRAMES: 2}
    assert ready(four, four, rows=8) == ready(four, {}, rows=4) == "ready"
    # Some frames of a video, whose length nobody states.
    assert ready(four, two, rows=3) == "ready"
    for other in (two, {}):
        with pytest.raises(InputError, match=r"of \d and \d frames; give all"):
            ready(four, other, rows=8)
