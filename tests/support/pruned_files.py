"""What the workflow for pruned files loads: a small checkpoint, and encoders of full size.

ComfyUI's own loaders know no other size. Their weights are zeros.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

from shipped.files import IMAGE_ENCODER, PRUNED_1024, TEXT_ENCODER
from small_checkpoint import UNET_PROJECTOR_VAE, drawn, save, small_arch, state_dict

# Width of the text encoder of Stable Diffusion 2.1, and of the image tower of ViT-H.
TEXT, TOWER = 1024, 1280
PROJECTOR = "image_proj_model."


def write(lender: Path, models: Path) -> None:
    """All three, under the names that the workflow has; `lender`: a golden case."""
    write_checkpoint(lender, models / PRUNED_1024.folder / PRUNED_1024.name)
    write_zeros(models / TEXT_ENCODER.folder / TEXT_ENCODER.name, text_encoder())
    write_zeros(models / IMAGE_ENCODER.folder / IMAGE_ENCODER.name, image_encoder())


def write_checkpoint(lender: Path, path: Path) -> Path:
    """A small 1024 model without encoders, as wide as those of full size."""
    tensors = state_dict(lender, "1024", arch=small_arch("1024")._replace(context_dim=TEXT))
    width = tensors[f"{PROJECTOR}proj_in.weight"].shape[0]
    full_size = {
        "proj_in.weight": (width, TOWER),
        "proj_out.weight": (TEXT, width),
        **dict.fromkeys(("proj_out.bias", "norm_out.weight", "norm_out.bias"), (TEXT,)),
    }
    tensors |= drawn(((PROJECTOR + key, shape) for key, shape in full_size.items()), seed=0)
    kept = {key: t.float() for key, t in tensors.items() if key.startswith(UNET_PROJECTOR_VAE)}
    return save(kept, path)


def write_zeros(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A safetensors file of 16-bit zeros, which takes no disk where files may have holes."""
    header: dict[str, object] = {}
    end = 0
    for key, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + end)
    return path


def text_encoder() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Stable Diffusion 2.1's text encoder."""
    found: dict[str, tuple[int, ...]] = {
        "text_model.embeddings.token_embedding.weight": (49408, TEXT),
        "text_model.embeddings.position_embedding.weight": (77, TEXT),
    }
    found |= _layers("text_model.encoder.layers", 23, TEXT)
    return found | _norm("text_model.final_layer_norm", TEXT)


def image_encoder() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the image tower of OpenCLIP ViT-H."""
    return {
        "vision_model.embeddings.class_embedding": (TOWER,),
        "vision_model.embeddings.patch_embedding.weight": (TOWER, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (257, TOWER),
        **_norm("vision_model.pre_layrnorm", TOWER),
        **_layers("vision_model.encoder.layers", 32, TOWER),
        **_norm("vision_model.post_layernorm", TOWER),
        "visual_projection.weight": (TEXT, TOWER),
    }


def _layers(name: str, count: int, width: int) -> dict[str, tuple[int, ...]]:
    linear = {f"self_attn.{part}_proj": (width, width) for part in "qkv"}
    linear |= {"self_attn.out_proj": (width, width)}
    linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    found: dict[str, tuple[int, ...]] = {}
    for i in range(count):
        for part, shape in linear.items():
            found |= {f"{name}.{i}.{part}.weight": shape, f"{name}.{i}.{part}.bias": shape[:1]}
        for number in (1, 2):
            found |= _norm(f"{name}.{i}.layer_norm{number}", width)
    return found


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return dict.fromkeys((f"{name}.weight", f"{name}.bias"), (width,))
