"""Across the nodes: ids, inputs, defaults and outputs that shared workflow files rely on.

`widgets_values` is positional and hosts list required inputs before optional ones: a change that
fails here breaks people's workflows. New inputs are optional and come last.
"""

from typing import Any

import pytest
from studio import Studio

pytestmark = pytest.mark.server

REQUIRED = object()
VARIANTS = [
    "auto",
    "256",
    "512",
    "1024",
    "512_interp",
    "cil_512",
    "cil_1024",
    "toon_512",
    "viewcrafter_16",
    "viewcrafter_25",
    "videocrafter1_512",
    "videocrafter1_1024",
    "videocrafter1_i2v",
    "videocrafter2",
]
DTYPES = ["default", "fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
SPACINGS = ["auto", "uniform_trailing", "uniform"]
ENDINGS = ["clean", "published"]
PAIR = {"positive": "CONDITIONING", "negative": "CONDITIONING"}
SCALES = {"cfg": 7.5, "image_cfg": 7.5}

# id: (display name, required inputs, optional inputs, outputs). An input is its wire type, its
# default, or its combo's options; the first option is the default.
CONTRACT: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = {
    "DynamiCrafterCheckpointLoader": (
        "Load DynamiCrafter Checkpoint",
        {"ckpt_name": REQUIRED, "variant": VARIANTS, "weight_dtype": DTYPES},
        {},
        [
            ("MODEL", "model"),
            ("CLIP", "clip"),
            ("VAE", "vae"),
            ("CLIP_VISION", "clip_vision"),
            ("DC_PROJECTOR", "projector"),
        ],
    ),
    "DynamiCrafterContextEncode": (
        "CLIP-Vision Context Encode",
        {"clip_vision": "CLIP_VISION", "image": "IMAGE", "fit": ["stretch", "crop", "pad"]},
        {},
        [
            ("CLIP_VISION_OUTPUT", "clip_vision_output"),
            ("CLIP_VISION_OUTPUT", "null_clip_vision_output"),
        ],
    ),
    "DynamiCrafterContextProjection": (
        "Query-Transformer Projection",
        {
            **PAIR,
            "projector": "DC_PROJECTOR",
            "clip_vision_output": "CLIP_VISION_OUTPUT",
            "null_clip_vision_output": "CLIP_VISION_OUTPUT",
            "frame_tokens": ["auto", "shared", "resample"],
        },
        {},
        [("CONDITIONING", name) for name in ("positive", "negative", "image_only")],
    ),
    "DynamiCrafterVisualDetailGuidance": (
        "Visual Detail Guidance",
        {
            **PAIR,
            "vae": "VAE",
            "image": "IMAGE",
            "width": 512,
            "height": 320,
            "length": 16,
            "batch_size": 1,
            "mode": ["animate", "interpolate", "loop", "keyframes", "per_frame"],
            "fps": 0,
            "fit": ["crop", "pad", "stretch"],
        },
        {"image_only": "CONDITIONING", "end_image": "IMAGE", "keyframes": "DC_KEYFRAMES"},
        [
            *(("CONDITIONING", name) for name in ("positive", "negative", "image_only")),
            ("LATENT", "latent"),
        ],
    ),
    "DynamiCrafterKeyframe": (
        "DynamiCrafter Keyframe",
        {"image": "IMAGE", "frame": 0},
        {"keyframes": "DC_KEYFRAMES"},
        [("DC_KEYFRAMES", "keyframes")],
    ),
    "DynamiCrafterEmptyVideo": (
        "DynamiCrafter Empty Video (text to video)",
        {
            **PAIR,
            "width": 512,
            "height": 320,
            "length": 16,
            "batch_size": 1,
            "fps": 0,
        },
        {},
        [("CONDITIONING", "positive"), ("CONDITIONING", "negative"), ("LATENT", "latent")],
    ),
    "DynamiCrafterSampler": (
        "Dual-Attention Sampler",
        {
            "model": "MODEL",
            **PAIR,
            "latent": "LATENT",
            "seed": 123,
            "steps": 50,
            **SCALES,
            "eta": 1.0,
            "spacing": SPACINGS,
            "guidance_rescale": -1,
            "ending": ENDINGS,
            "start_timestep": 1000,
            "denoise": 1.0,
        },
        {"image_only": "CONDITIONING", "noise": "NOISE"},
        [("LATENT", "latent")],
    ),
    "DynamiCrafterScheduler": (
        "DynamiCrafter Scheduler",
        {
            "model": "MODEL",
            "steps": 50,
            "spacing": SPACINGS,
            "denoise": 1.0,
            "ending": ENDINGS,
            "start_timestep": 1000,
        },
        {},
        [("SIGMAS", "SIGMAS")],
    ),
    "DynamiCrafterDDIM": ("DynamiCrafter DDIM", {"eta": 1.0}, {}, [("SAMPLER", "SAMPLER")]),
    "DynamiCrafterGuider": (
        "DynamiCrafter Dual Guider",
        {"model": "MODEL", **PAIR, **SCALES, "guidance_rescale": -1},
        {"image_only": "CONDITIONING"},
        [("GUIDER", "GUIDER")],
    ),
    "DynamiCrafterLambda": (
        "Dual-Attention Lambda",
        {"model": "MODEL", "outer_layers": 1.0, "middle_layers": 1.0, "per_layer": ""},
        {},
        [("MODEL", "model")],
    ),
    "DynamiCrafterLambdaPlot": ("Plot Lambda", {"model": "MODEL"}, {}, [("IMAGE", "image")]),
    "DynamiCrafterVideoDecode": (
        "DynamiCrafter Video Decode",
        {
            "vae": "VAE",
            "samples": "LATENT",
            "chunk_frames": 0,
            "tile_size": 0,
            "drop_last_frame": False,
        },
        {"first_image": "IMAGE", "last_image": "IMAGE", "num_frames": 0},
        [("IMAGE", "images"), ("IMAGE", "last_frame")],
    ),
    "DynamiCrafterPromptSchedule": (
        "DynamiCrafter Prompt Schedule",
        {"clip": "CLIP", "prompts": REQUIRED, "length": 16, "blend_frames": 4},
        {},
        [("CONDITIONING", "conditioning")],
    ),
    "DynamiCrafterExtend": (
        "DynamiCrafter Extend Video",
        {**PAIR, "vae": "VAE", "images": "IMAGE", "length": 16, "overlap": 4, "fps": 0},
        {"image_only": "CONDITIONING", "samples": "LATENT"},
        [
            *(("CONDITIONING", name) for name in ("positive", "negative", "image_only")),
            ("LATENT", "latent"),
            ("IMAGE", "before"),
        ],
    ),
    "DynamiCrafterDragMotion": (
        "DynamiCrafter Drag Motion",
        {
            "image": "IMAGE",
            "mask": "MASK",
            "path": "320, 160",
            "width": 512,
            "height": 320,
            "length": 16,
        },
        {"path_masks": "MASK"},
        [("IMAGE", "reference"), ("MASK", "mask"), ("IMAGE", "preview")],
    ),
    "DynamiCrafterCameraMotion": (
        "DynamiCrafter Camera Motion",
        {
            "image": "IMAGE",
            "move": "zoom_in",
            "amount": 0.25,
            "path": "",
            "width": 512,
            "height": 320,
            "length": 16,
        },
        {"depth": "IMAGE"},
        [("IMAGE", "reference"), ("MASK", "mask")],
    ),
    "DynamiCrafterReferenceMotion": (
        "DynamiCrafter Reference Motion",
        {
            "model": "MODEL",
            "vae": "VAE",
            "reference": "IMAGE",
            "weak_timestep": 940,
            "strong_timestep": 860,
            "strength": 1.0,
        },
        {"mask": "MASK", "may_move": "MASK", "soft_border": 16},
        [("MODEL", "model"), ("MASK", "held")],
    ),
    "DynamiCrafterMotionAmount": (
        "DynamiCrafter Motion Amount",
        {"model": "MODEL", "motion": 0.0, "means": ["all", "speed", "lambda", "start"]},
        {},
        [("MODEL", "model"), ("INT", "fps"), ("INT", "start_timestep")],
    ),
    "DynamiCrafterPriorGuider": (
        "DynamiCrafter Prior Guider",
        {
            "model": "MODEL",
            "prior": "MODEL",
            **PAIR,
            "cfg": 7.5,
            "guidance_rescale": -1.0,
            "prior_strength": 1.0,
        },
        {},
        [("GUIDER", "GUIDER")],
    ),
    "DynamiCrafterPinFirstFrame": (
        "DynamiCrafter Pin First Frame",
        {"model": "MODEL", "frames": ["first", "given"]},
        {},
        [("MODEL", "model")],
    ),
    "DynamiCrafterColorMatch": (
        "DynamiCrafter Color Match",
        {
            "images": "IMAGE",
            "reference": "IMAGE",
            "method": ["mean_std", "covariance", "histogram"],
            "source": ["each_frame", "first_frame"],
            "strength": 1.0,
        },
        {},
        [("IMAGE", "images")],
    ),
    "DynamiCrafterShot": (
        "DynamiCrafter Shot",
        {"prompt": REQUIRED, "length": 16, "fps": 0},
        {"image": "IMAGE", "shots": "DC_SHOTS"},
        [("DC_SHOTS", "shots")],
    ),
    "DynamiCrafterStoryboard": (
        "DynamiCrafter Storyboard",
        {
            "model": "MODEL",
            "clip": "CLIP",
            "vae": "VAE",
            "clip_vision": "CLIP_VISION",
            "projector": "DC_PROJECTOR",
            "shots": "DC_SHOTS",
            "mode": ["animate", "interpolate"],
            "negative": "",
            "width": 512,
            "height": 320,
            "fit": ["crop", "pad", "stretch"],
            "overlap": 4,
            "seed": 123,
            "steps": 50,
            "cfg": 7.5,
            "eta": 1.0,
        },
        {},
        [("IMAGE", "images"), ("IMAGE", "last_frame")],
    ),
    "DynamiCrafterAnalyticInit": (
        "Analytic-Init Noise",
        {"model": "MODEL", "init_file": REQUIRED, "seed": 123, "start_timestep": 940},
        {"statistics_from": "LATENT"},
        [("NOISE", "NOISE")],
    ),
    "DynamiCrafterSketchControl": (
        "Sketch Control (ToonCrafter)",
        {
            **PAIR,
            "control_net_name": REQUIRED,
            "sketches": "IMAGE",
            "frames": "",
            "strength": 0.6,
            "start_percent": 0.0,
            "end_percent": 1.0,
        },
        {"image_only": "CONDITIONING"},
        [("CONDITIONING", name) for name in ("positive", "negative", "image_only")],
    ),
    "DynamiCrafterPIC": (
        "Perceptual Input Conformity (PIC)",
        {
            "images": "IMAGE",
            "image": "IMAGE",
            "distance": ["dreamsim", "clip_vision", "pixels"],
            "num_frames": 0,
            "fit": ["crop", "pad", "stretch"],
        },
        {"clip_vision": "CLIP_VISION"},
        [("FLOAT", "pic"), ("STRING", "report")],
    ),
    "DynamiCrafterVideoDistance": (
        "Video Distance (FVD, KVD)",
        {
            "real_images": "IMAGE",
            "generated_images": "IMAGE",
            "extractor_name": REQUIRED,
            "preprocessing": ["i3d", "none"],
            "num_frames": 16,
            "real_stride": 1,
        },
        {},
        [("FLOAT", "fvd"), ("FLOAT", "kvd"), ("STRING", "report")],
    ),
    "DynamiCrafterFrameStrip": (
        "DynamiCrafter Frame Strip",
        {"images": "IMAGE", "num_frames": 0, "columns": 8, "height": 128},
        {"labels": ""},
        [("IMAGE", "image")],
    ),
}


@pytest.fixture(scope="module")
def object_info(studio: Studio) -> dict[str, Any]:
    return studio.server.object_info()


def matches(found: list[Any], expected: Any) -> bool:
    kind, options = found[0], found[1] if len(found) > 1 else {}
    choices = options.get("options", kind if isinstance(kind, list) else None)
    if expected is REQUIRED:
        return True
    if isinstance(expected, list):
        return choices == expected and options.get("default", expected[0]) == expected[0]
    if isinstance(expected, str) and expected.isupper():
        return kind == expected
    return options.get("default") == expected


@pytest.mark.parametrize("node_id", CONTRACT)
def test_contract(object_info: dict[str, Any], node_id: str) -> None:
    name, required, optional, outputs = CONTRACT[node_id]
    info = object_info[node_id]
    assert info["display_name"] == name
    assert info["category"].startswith("DynamiCrafter/")
    for group, expected in (("required", required), ("optional", optional)):
        found = info["input"].get(group, {})
        assert list(found)[: len(expected)] == list(expected)
        assert group == "optional" or len(found) == len(expected)
        for key, value in expected.items():
            assert matches(found[key], value), (key, found[key])
    found_outputs = list(zip(info["output"], info["output_name"], strict=True))
    assert found_outputs[: len(outputs)] == outputs


def test_every_input_has_a_tooltip(object_info: dict[str, Any]) -> None:
    ours = {k: v for k, v in object_info.items() if k.startswith("DynamiCrafter")}
    assert set(CONTRACT) == set(ours)
    silent = [
        (node_id, key)
        for node_id, info in ours.items()
        for group in ("required", "optional")
        for key, spec in info["input"].get(group, {}).items()
        if len(spec) < 2 or not spec[1].get("tooltip")
    ]
    assert not silent
    assert all(info["description"] for info in ours.values())


def test_speed_says_which_way_is_more_motion(object_info: dict[str, Any]) -> None:
    """256 counts frame strides, the others frames per second: the wrong way gives less motion."""
    tooltips = [
        info["input"][group]["fps"][1]["tooltip"]
        for node_id, info in object_info.items()
        for group in ("required", "optional")
        if node_id.startswith("DynamiCrafter") and "fps" in info["input"].get(group, {})
    ]
    assert len(tooltips) == 4
    assert all("lower = more motion" in text for text in tooltips)
