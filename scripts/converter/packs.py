"""The nodes of other packs: what each is for, and its widgets in their order.

docs/coming_from_other_packs.md says the same to people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class Role(Enum):
    """What a node is for."""

    LOADER = auto()  # the checkpoint
    CLIP = auto()
    VISION = auto()
    VIDEO = auto()  # samples and decodes: images come out
    LATENT = auto()  # samples: a latent comes out
    CHAIN = auto()  # a video through a batch of images
    DECODE = auto()
    PATCH = auto()  # a model for stock samplers comes out
    CONTROL = auto()
    CONTROL_LOADER = auto()
    NOISE = auto()
    RESIZE = auto()
    SAVE = auto()


@dataclass(frozen=True)
class Foreign:
    """A node of another pack.

    widgets: name and default of each, in order. means: what we call a widget, where that differs
    from `MEANS`. lost: the widgets that nothing here corresponds to, and what to do instead.
    mode: of Visual Detail Guidance. text: whether it holds its own prompt.
    """

    pack: str
    role: Role
    widgets: Mapping[str, Any] = field(default_factory=dict)
    means: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    mode: str = "animate"


KIJAI, NATIVE, CHAOJIE = "DynamiCrafterWrapper", "Native DynamiCrafter", "ComfyUI-DynamiCrafter"
TOON, VIEW = "ComfyUI-ToonCrafter", "ComfyUI-ViewCrafter"
OTHERS = "other nodes"

# Their name of a widget -> ours.
MEANS = {
    "fs": "fps",
    "motion": "fps",
    "stride": "fps",
    "frames": "length",
    "frame_length": "length",
    "cfg_scale": "cfg",
    "control_scale": "strength",
}
NO_MASK = "put ComfyUI's Set Latent Noise Mask before the sampler"
WINDOWS = "for more than 16 frames, see the workflow Long video"
PLAIN_LOSS = {
    "augmentation_level": "no counterpart",
    "frame_window_size": WINDOWS,
    "frame_window_stride": WINDOWS,
}
_SAMPLING = {"steps": 50, "cfg": 7.0, "eta": 1.0, "frames": 16, "seed": 123, "fs": 10}
_KEPT = {"keep_model_loaded": True, "vae_dtype": "auto"}
_WINDOW = {"frame_window_size": 16, "frame_window_stride": 4}
_TOON = {"ckpt_name": "", "vram_opt_strategy": "none", "prompt": "", "seed": 123, "eta": 1.0}
_TOON_END = {"cfg_scale": 7.5, "steps": 50, "frame_count": 10, "fps": 8}
_TOON_MEANS = {"frame_count": "fps", "fps": "video_fps"}
_SIMPLE = {"prompt": "", "steps": 50, "cfg_scale": 7.5, "eta": 1.0, "motion": 3, "seed": 123}

FOREIGN: Mapping[str, Foreign] = {
    "DynamiCrafterModelLoader": Foreign(
        KIJAI, Role.LOADER, {"ckpt_name": "", "dtype": "auto", "fp8_unet": False}
    ),
    "DownloadAndLoadDynamiCrafterModel": Foreign(
        KIJAI,
        Role.LOADER,
        {"model": "", "dtype": "auto", "fp8_unet": False},
        {"model": "downloaded"},
    ),
    "DownloadAndLoadCLIPModel": Foreign(KIJAI, Role.CLIP, {"model": ""}, {"model": "clip_name"}),
    "DownloadAndLoadCLIPVisionModel": Foreign(
        KIJAI, Role.VISION, {"model": ""}, {"model": "clip_name"}
    ),
    "DynamiCrafterI2V": Foreign(
        KIJAI,
        Role.VIDEO,
        {**_SAMPLING, **_KEPT, **_WINDOW, "augmentation_level": 0.0},
        lost=PLAIN_LOSS,
    ),
    "DynamiCrafterBatchInterpolation": Foreign(
        KIJAI,
        Role.CHAIN,
        {**_SAMPLING, **_KEPT, "cut_near_keyframes": 0},
        lost={**PLAIN_LOSS, "cut_near_keyframes": "Storyboard joins shots without double frames"},
        mode="interpolate",
    ),
    "ToonCrafterInterpolation": Foreign(
        KIJAI,
        Role.LATENT,
        {
            **_SAMPLING,
            "steps": 20,
            "vae_dtype": "auto",
            "image_embed_ratio": 0.25,
            "augmentation_level": 0.0,
        },
        lost={**PLAIN_LOSS, "image_embed_ratio": "the context is the first image's, as published"},
        mode="interpolate",
    ),
    "ToonCrafterDecode": Foreign(KIJAI, Role.DECODE, {"vae_dtype": "auto"}),
    "DynamiCrafterCNLoader": Foreign(KIJAI, Role.CONTROL_LOADER, {"ckpt_name": ""}),
    "DownloadAndLoadDynamiCrafterCNModel": Foreign(KIJAI, Role.CONTROL_LOADER, {"model": ""}),
    "DynamiCrafterControlnetApply": Foreign(KIJAI, Role.CONTROL, {"control_scale": 0.6}),
    "DynamiCrafterLoadInitNoise": Foreign(KIJAI, Role.NOISE),
    "DynamiCrafterLoader": Foreign(
        f"{NATIVE} or {CHAOJIE}", Role.LOADER, {"ckpt_name": ""}, {"model_path": "ckpt_name"}
    ),
    "DynamiCrafterProcessor": Foreign(
        NATIVE,
        Role.PATCH,
        {"use_interpolate": False, "fps": 8, "frames": 16, "scale_latents": False},
        lost={"scale_latents": "contrast comes from the model's own dynamic rescale"},
    ),
    "DynamiCrafterInterpLoader": Foreign(CHAOJIE, Role.LOADER, {"ckpt_name": ""}),
    "DynamiCrafter Simple": Foreign(CHAOJIE, Role.VIDEO, _SIMPLE),
    "DynamiCrafterInterp Simple": Foreign(CHAOJIE, Role.VIDEO, _SIMPLE, mode="interpolate"),
    "ToonCrafterNode": Foreign(
        TOON, Role.VIDEO, {**_TOON, **_TOON_END}, _TOON_MEANS, mode="interpolate"
    ),
    "ToonCrafterWithSketch": Foreign(
        TOON,
        Role.VIDEO,
        {**_TOON, **_TOON_END, "control_scale": 0.6},
        _TOON_MEANS,
        mode="interpolate",
    ),
    "LoadViewCrafter": Foreign(VIEW, Role.LOADER, {"ckpt_name": ""}),
    "ApplyViewCrafter": Foreign(
        VIEW,
        Role.PATCH,
        {"stride": 10, "zsnr": False},
        mode="per_frame",
    ),
    "ScaleImages": Foreign(VIEW, Role.RESIZE, {"width": 1024, "height": 576}),
    "ImageResizeKJ": Foreign(
        OTHERS,
        Role.RESIZE,
        {"width": 512, "height": 320, "upscale_method": "lanczos", "keep_proportion": False},
    ),
    "ImageResize+": Foreign(
        OTHERS, Role.RESIZE, {"width": 512, "height": 320, "interpolation": "lanczos"}
    ),
    "VHS_VideoCombine": Foreign(
        OTHERS,
        Role.SAVE,
        {"frame_rate": 8, "loop_count": 0, "filename_prefix": "video", "format": "video/h264-mp4"},
        lost={"loop_count": "the saved video plays once", "pingpong": "no counterpart"},
    ),
}
# Widgets of ComfyUI's own nodes that are read on the way.
CORE: Mapping[str, Mapping[str, Any]] = {
    "CLIPTextEncode": {"text": ""},
    "ImageScale": {"upscale_method": "lanczos", "width": 512, "height": 320, "crop": "disabled"},
    "KSampler": {
        **{"seed": 0, "steps": 20, "cfg": 8.0, "sampler_name": "euler"},
        **{"scheduler": "normal", "denoise": 1.0},
    },
}
# Their ids for a few images in one batch.
BATCHES = ("ImageBatch", "ImageBatchMulti", "BatchImagesNode")


def role(kind: str) -> Role | None:
    """What a node of another pack is for; None for any other node."""
    return FOREIGN[kind].role if kind in FOREIGN else None
