"""Workflows in the layout that users of other packs share, written from the packs' node lists.

In the files of 2024 a node lists its sockets and those widgets that were made into sockets; the
values of the others stand in a bare list.
"""

import copy
from typing import Any

# Output types of each node that the workflows use.
OUTPUTS: dict[str, list[str]] = {
    "DownloadAndLoadDynamiCrafterModel": ["DCMODEL"],
    "DynamiCrafterModelLoader": ["DCMODEL"],
    "DownloadAndLoadCLIPModel": ["CLIP"],
    "DownloadAndLoadCLIPVisionModel": ["CLIP_VISION"],
    "DynamiCrafterI2V": ["IMAGE", "IMAGE"],
    "DynamiCrafterBatchInterpolation": ["IMAGE"],
    "ToonCrafterInterpolation": ["LATENT"],
    "ToonCrafterDecode": ["IMAGE"],
    "DynamiCrafterCNLoader": ["DCCONTROL"],
    "DynamiCrafterControlnetApply": ["DCMODEL"],
    "DynamiCrafterLoader": ["MODEL", "MODEL_PROC"],
    "DynamiCrafterProcessor": ["MODEL", "LATENT", "LATENT"],
    "DynamiCrafter Simple": ["IMAGE"],
    "DynamiCrafterInterp Simple": ["IMAGE"],
    "DynamiCrafterInterpLoader": ["DCMODEL"],
    "ToonCrafterNode": ["IMAGE"],
    "ToonCrafterWithSketch": ["IMAGE"],
    "LoadViewCrafter": ["MODEL", "MODEL_PROC"],
    "ApplyViewCrafter": ["MODEL", "LATENT"],
    "ScaleImages": ["IMAGE"],
    "ImageResizeKJ": ["IMAGE", "INT", "INT"],
    "ImageBatch": ["IMAGE"],
    "ImageBatchMulti": ["IMAGE"],
    "RepeatImageBatch": ["IMAGE"],
    "LoadImage": ["IMAGE", "MASK"],
    "CLIPTextEncode": ["CONDITIONING"],
    "CLIPLoader": ["CLIP"],
    "CLIPVisionLoader": ["CLIP_VISION"],
    "VAELoader": ["VAE"],
    "RescaleCFG": ["MODEL"],
    "KSampler": ["LATENT"],
    "VAEDecode": ["IMAGE"],
    "PreviewImage": [],
    "VHS_VideoCombine": ["VHS_FILENAMES"],
    "Reroute": ["*"],
    "SetNode": ["*"],
    "GetNode": ["*"],
    "PrimitiveNode": ["INT"],
    "Note": [],
}
VIDEO = {
    "frame_rate": 12,
    "loop_count": 0,
    "filename_prefix": "theirs",
    "format": "video/h264-mp4",
    "pingpong": False,
    "save_output": True,
}


class Sheet:
    """A workflow in the making."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []

    def add(
        self,
        kind: str,
        values: list[Any] | dict[str, Any] | None = None,
        *,
        mode: int = 0,
        **wires: Any,
    ) -> int:
        """A node's id; a wire is another's id, or its id and a slot."""
        number = len(self.nodes) + 1
        outputs = [{"name": t, "type": t, "links": []} for t in OUTPUTS[kind]]
        node: dict[str, Any] = {
            "id": number,
            "type": kind,
            "pos": {"0": 400 * number, "1": 130},
            "size": {"0": 315, "1": 200},
            "flags": {},
            "order": number,
            "mode": mode,
            "inputs": [],
            "outputs": outputs,
            "properties": {"Node name for S&R": kind},
            "widgets_values": values if values is not None else [],
        }
        for name, wire in wires.items():
            source, slot = wire if isinstance(wire, tuple) else (wire, 0)
            output = self.nodes[source - 1]["outputs"][slot]
            link = len(self.links) + 1
            self.links.append([link, source, slot, number, len(node["inputs"]), output["type"]])
            output["links"].append(link)
            entry: dict[str, Any] = {"name": name, "type": output["type"], "link": link}
            if output["type"] == "INT":
                entry["widget"] = {"name": name}
            node["inputs"].append(entry)
        self.nodes.append(node)
        return number

    def saved(self) -> dict[str, Any]:
        """As the page of that time saved it."""
        return copy.deepcopy(
            {
                "last_node_id": len(self.nodes),
                "last_link_id": len(self.links),
                "nodes": self.nodes,
                "links": self.links,
                "groups": [],
                "config": {},
                "extra": {},
                "version": 0.4,
            }
        )


def wrapper_animates() -> Sheet:
    """kijai's first example: everything downloaded, one picture, saved by Video Combine."""
    sheet = Sheet()
    model = sheet.add(
        "DownloadAndLoadDynamiCrafterModel",
        ["dynamicrafter_1024_v1_bf16.safetensors", "bf16", False],
    )
    clip = sheet.add("DownloadAndLoadCLIPModel", ["stable-diffusion-2-1-clip-fp16.safetensors"])
    vision = sheet.add("DownloadAndLoadCLIPVisionModel", ["CLIP-ViT-H-14-fp16.safetensors"])
    positive = sheet.add("CLIPTextEncode", ["a boat in a storm"], clip=clip)
    negative = sheet.add("CLIPTextEncode", [""], clip=clip)
    image = sheet.add("LoadImage", ["first.png", "image"])
    resized = sheet.add(
        "ImageResizeKJ", [640, 330, "bicubic", False, 2, 0, 0, "disabled"], image=image
    )
    made = sheet.add(
        "DynamiCrafterI2V",
        [25, 6.5, 0.5, 12, 7, "randomize", 8, True, "auto", 16, 4, 0.2],
        model=model,
        clip_vision=vision,
        positive=positive,
        negative=negative,
        image=resized,
    )
    sheet.add("VHS_VideoCombine", VIDEO, images=made)
    sheet.add("Note", ["Lower fs for more motion"])
    return sheet


def wrapper_draws() -> Sheet:
    """kijai's ToonCrafter example with a sketch: one batch of two pictures, decoded apart."""
    sheet = Sheet()
    model = sheet.add(
        "DynamiCrafterModelLoader", ["toon/tooncrafter_512_interp-fp16.safetensors", "auto", True]
    )
    control = sheet.add("DynamiCrafterCNLoader", ["sketch.safetensors"])
    drawn = sheet.add("LoadImage", ["second.png", "image"])
    controlled = sheet.add(
        "DynamiCrafterControlnetApply", [0.8], model=model, controlnet=control, image=drawn
    )
    clip = sheet.add("CLIPLoader", ["sd21.safetensors", "stable_diffusion"])
    vision = sheet.add("CLIPVisionLoader", ["vit_h.safetensors"])
    positive = sheet.add("CLIPTextEncode", ["an anime scene"], clip=clip)
    negative = sheet.add("CLIPTextEncode", ["blurry"], clip=clip)
    first, last = (sheet.add("LoadImage", [f"{n}.png", "image"]) for n in ("first", "second"))
    both = sheet.add("ImageBatch", image1=first, image2=last)
    made = sheet.add(
        "ToonCrafterInterpolation",
        [20, 7, 1, 16, 5, "fixed", 10, "auto", 0.25, 0],
        model=controlled,
        clip_vision=vision,
        positive=positive,
        negative=negative,
        images=both,
    )
    decoded = sheet.add("ToonCrafterDecode", ["auto"], model=model, latent=made)
    sheet.add("VHS_VideoCombine", VIDEO, images=decoded)
    return sheet


def wrapper_chains(pictures: int = 3) -> Sheet:
    """kijai's batch interpolation, with reroutes, Set and Get, and the seed from a primitive."""
    sheet = Sheet()
    model = sheet.add("DynamiCrafterModelLoader", ["512_interp.safetensors", "fp16", False])
    sheet.add("SetNode", ["model"], DCMODEL=model)
    got = sheet.add("GetNode", ["model"])
    clip = sheet.add("CLIPLoader", ["sd21.safetensors", "stable_diffusion"])
    vision = sheet.add("CLIPVisionLoader", ["vit_h.safetensors"])
    positive = sheet.add("CLIPTextEncode", ["a door opens"], clip=clip)
    negative = sheet.add("CLIPTextEncode", ["noise"], clip=clip)
    names = ("first.png", "second.png")
    images = [sheet.add("LoadImage", [names[i % 2], "image"]) for i in range(pictures)]
    wires: dict[str, Any] = {f"image_{i}": n for i, n in enumerate(images, 1)}
    batch = sheet.add("ImageBatchMulti", [pictures], **wires)
    straight: dict[str, Any] = {"": batch}
    around = sheet.add("Reroute", **straight)
    seed = sheet.add("PrimitiveNode", [77, "fixed"])
    made = sheet.add(
        "DynamiCrafterBatchInterpolation",
        [30, 7.5, 1, 16, 77, "fixed", 5, True, "auto", 0],
        model=got,
        clip_vision=vision,
        positive=positive,
        negative=negative,
        images=around,
        seed=seed,
    )
    sheet.add("VHS_VideoCombine", VIDEO, images=made)
    return sheet


def native(*, interpolate: bool = False, scheduler: str = "normal") -> Sheet:
    """ExponentialML's example: a patched model, KSampler, all encoders from files of their own."""
    sheet = Sheet()
    loader = sheet.add("DynamiCrafterLoader", ["dynamicrafter_512_interp.safetensors"])
    clip = sheet.add("CLIPLoader", ["sd21.safetensors", "stable_diffusion"])
    vision = sheet.add("CLIPVisionLoader", ["vit_h.safetensors"])
    vae = sheet.add("VAELoader", ["vae-ft-mse.safetensors"])
    positive = sheet.add("CLIPTextEncode", ["waves"], clip=clip)
    negative = sheet.add("CLIPTextEncode", ["watermark"], clip=clip)
    image = sheet.add("LoadImage", ["first.png", "image"])
    patched = sheet.add(
        "DynamiCrafterProcessor",
        [interpolate, 12, 16, True],
        model=loader,
        clip_vision=vision,
        vae=vae,
        image_proj_model=(loader, 1),
        images=image,
    )
    rescaled = sheet.add("RescaleCFG", [0.7], model=patched)
    made = sheet.add(
        "KSampler",
        [11, "fixed", 20, 7.5, "euler", scheduler, 1.0],
        model=rescaled,
        positive=positive,
        negative=negative,
        latent_image=(patched, 1),
    )
    decoded = sheet.add("VAEDecode", samples=made, vae=vae)
    sheet.add("PreviewImage", images=decoded)
    return sheet


def simple(*, interpolate: bool = False) -> Sheet:
    """chaojie's two nodes."""
    sheet = Sheet()
    images = [sheet.add("LoadImage", [f"{n}.png", "image"]) for n in ("first", "second")]
    if interpolate:
        model = sheet.add("DynamiCrafterInterpLoader", ["dynamicrafter_512_interp/model.ckpt"])
        kind, wires = "DynamiCrafterInterp Simple", {"image1": images[0], "image2": images[1]}
    else:
        model = sheet.add("DynamiCrafterLoader", ["dynamicrafter_512/model.ckpt"])
        kind, wires = "DynamiCrafter Simple", {"image": images[0]}
    made = sheet.add(kind, ["a cat runs", 40, 7.5, 1.0, 3, 9, "fixed"], model=model, **wires)
    sheet.add("VHS_VideoCombine", VIDEO, images=made)
    return sheet


def toon_node(*, sketch: bool = False) -> Sheet:
    """AIGODLIKE's one node; its frame_count is the speed."""
    sheet = Sheet()
    first, last = (sheet.add("LoadImage", [f"{n}.png", "image"]) for n in ("first", "second"))
    values = [
        "tooncrafter_512_interp.ckpt",
        "low",
        "a girl blinks",
        3,
        "fixed",
        1.0,
        7.5,
        30,
        15,
        8,
    ]
    wires = {"image": first, "image2": last}
    if sketch:
        made = sheet.add(
            "ToonCrafterWithSketch", [*values, 0.4], **wires, sketch=sheet.add("LoadImage", ["s"])
        )
    else:
        made = sheet.add("ToonCrafterNode", values, **wires)
    sheet.add("VHS_VideoCombine", VIDEO, images=made)
    return sheet


def view() -> Sheet:
    """logtd's example: renders scaled, a patched model, KSampler."""
    sheet = Sheet()
    loader = sheet.add("LoadViewCrafter", ["viewcrafter_25.ckpt"])
    clip = sheet.add("CLIPLoader", ["sd21.safetensors", "stable_diffusion"])
    vision = sheet.add("CLIPVisionLoader", ["vit_h.safetensors"])
    vae = sheet.add("VAELoader", ["vae-ft-mse.safetensors"])
    words = sheet.add("CLIPTextEncode", ["Rotating view of a scene"], clip=clip)
    nothing = sheet.add("CLIPTextEncode", [""], clip=clip)
    image = sheet.add("LoadImage", ["first.png", "image"])
    renders = sheet.add("RepeatImageBatch", [25], image=image)
    scaled = sheet.add("ScaleImages", [1024, 576], images=renders)
    patched = sheet.add(
        "ApplyViewCrafter",
        [8, False],
        model=loader,
        clip_vision=vision,
        vae=vae,
        image_proj_model=(loader, 1),
        images=scaled,
    )
    made = sheet.add(
        "KSampler",
        [11, "fixed", 20, 7.5, "euler", "karras", 1.0],
        model=patched,
        positive=words,
        negative=nothing,
        latent_image=(patched, 1),
    )
    decoded = sheet.add("VAEDecode", samples=made, vae=vae)
    sheet.add("VHS_VideoCombine", VIDEO, images=decoded)
    return sheet


EVERY = {
    "the wrapper animates": wrapper_animates(),
    "the wrapper draws": wrapper_draws(),
    "the wrapper chains": wrapper_chains(),
    "native": native(),
    "native interpolates": native(interpolate=True),
    "simple": simple(),
    "simple interpolates": simple(interpolate=True),
    "one toon node": toon_node(),
    "one toon node with a sketch": toon_node(sketch=True),
    "view": view(),
}
