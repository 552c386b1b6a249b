"""Compares real checkpoint layouts with the host's own networks, on the meta device.

    python host_layouts.py COMFYUI PACK MANIFEST...

Prints a JSON object: manifest -> part -> {"missing": [...], "unexpected": [...]}. Runs in a process
of its own, since importing ComfyUI changes a process for good.
"""

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]


def load_pack(folder: str) -> Any:
    """The pack's `encoders` module."""
    spec = importlib.util.spec_from_file_location(
        "pack", Path(folder) / "__init__.py", submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    spec.loader.exec_module(module)
    return importlib.import_module("pack.nodes.host.encoders")


def read_manifest(path: str) -> Tensors:
    """Meta tensors by key."""
    keys = json.loads(gzip.decompress(Path(path).read_bytes()))["keys"]
    return {k: torch.empty(shape, device="meta") for k, shape in keys.items()}


def part(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def compare(found: Tensors, network: torch.nn.Module, unused: tuple[str, ...] = ()) -> Any:
    """Missing and unexpected keys, a tensor of another shape counting as both."""
    shapes = {k: tuple(v.shape) for k, v in found.items() if not k.startswith(unused)}
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    return {
        "missing": sorted(set(expected.items()) - set(shapes.items())),
        "unexpected": sorted(set(shapes.items()) - set(expected.items())),
    }


def check(encoders: Any, tensors: Tensors) -> dict[str, Any]:
    """The parts that the host's classes load."""
    import comfy.clip_model
    import comfy.clip_vision
    import comfy.ldm.models.autoencoder
    import comfy.ops
    import comfy.supported_models
    import comfy.text_encoders.sd2_clip

    results = {}
    operations = comfy.ops.manual_cast
    vae = part(tensors, "first_stage_model.")
    if not encoders.has_dual_reference(vae):
        config = encoders._vae_config({k: tuple(v.shape) for k, v in vae.items()})
        with torch.device("meta"):
            network = comfy.ldm.models.autoencoder.AutoencoderKL(**config["params"])
        results["vae"] = compare(vae, network)

    text = {k: v for k, v in tensors.items() if k.startswith("cond_stage_model.")}
    converted = comfy.supported_models.SD20({}).process_clip_state_dict(dict(text))
    network = comfy.text_encoders.sd2_clip.SD2ClipModel(device="meta")
    # The causal mask is not a weight, and the host makes its own.
    results["text"] = compare(converted, network, ("clip_h.attn_mask", "clip_h.transformer.attn"))

    visual = part(tensors, "embedder.")
    visual = {k: v for k, v in visual.items() if k.startswith("model.visual.")}
    if visual:
        config = encoders._vision_config(visual, "model.visual.", 80)
        converted = comfy.clip_vision.convert_to_transformers(dict(visual), "model.visual.")
        with torch.device("meta"):
            network = comfy.clip_model.CLIPVisionModelProjection(
                config, torch.float32, "meta", operations
            )
        results["image"] = compare(converted, network)
        # Load CLIP Vision makes the same tower of a CLIP-ViT-H file.
        stock = Path(comfy.clip_vision.__file__).with_name("clip_vision_config_h.json")
        described = json.loads(stock.read_text(encoding="utf-8"))
        other = sorted(key for key in config if config[key] != described[key])
        results["image settings"] = {"missing": other, "unexpected": []}
    return results


def main() -> None:
    comfyui, pack, *manifests = sys.argv[1:]
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, comfyui)
    import comfy.options

    comfy.options.enable_args_parsing()
    encoders = load_pack(pack)
    results = {Path(m).name: check(encoders, read_manifest(m)) for m in manifests}
    sys.stdout.write("\n" + json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
