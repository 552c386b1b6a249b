"""A grammar of values that may come over a wire, and what is known of each without running it.

A value is described as JSON, which the tests' own node TestHostile turns into the thing.
"""

import math
import random
from typing import Any

FLOATS = ("float16", "bfloat16", "float32", "float64")
OTHERS = ("uint8", "int8", "int16", "int32", "int64", "bool", "complex64", "complex32")
SMALL_FLOATS = ("float8_e4m3fn", "float8_e5m2")
DTYPES = (*FLOATS, *OTHERS, *SMALL_FLOATS)
LAYOUTS = ("dense", "dense", "dense", "turned", "meta", "sparse", "nested", "jagged")
FILLS = ("random", "0", "0.5", "1", "-1", "nan", "inf", "-inf", "255", "1e30", "3e38")
SIZES = (0, 1, 2, 3, 4, 5, 8, 16, 33, 64)

# Shapes that the kinds may have; numbers of frames, rows and channels around the right ones.
IMAGES = [[1, 64, 64, 3], [4, 64, 64, 3], [1, 8, 8, 1], [2, 16, 8, 4], [3, 64, 64, 3], [1, 1, 1, 3]]
LATENTS = [[4, 4, 8, 8], [1, 4, 8, 8], [8, 4, 8, 8], [4, 16, 8, 8], [1, 4, 4, 8, 8], [4, 4, 6, 10]]
MASKS = [[1, 64, 64], [4, 64, 64], [3, 64, 64], [64, 64], [1, 64, 32], [1, 1, 1], [1, 1, 8, 8, 1]]
TEXTS = [[1, 77, 128], [4, 77, 128], [2, 77, 128], [1, 154, 128], [1, 77, 64], [77, 128]]


def tensor(draw: random.Random, shapes: list[list[int]]) -> dict[str, Any]:
    """A tensor of one of `shapes`, or of any; most have one thing wrong."""
    shape = draw.choice(shapes)
    dtype, layout, fill = "float32", "dense", "random"
    for fault in draw.choices(("shape", "dtype", "layout", "fill"), k=draw.choice((0, 1, 1, 1, 2))):
        if fault == "shape":
            shape = [draw.choice(SIZES) for _ in range(draw.randint(0, 6))]
        elif fault == "dtype":
            dtype = draw.choice(DTYPES)
        elif fault == "layout":
            layout = draw.choice(LAYOUTS)
        else:
            fill = draw.choice(FILLS)
    if math.prod(shape) > 1e6:
        shape = shape[:3]
    if dtype not in FLOATS and not dtype.startswith("float8") and fill in ("nan", "inf", "-inf"):
        fill = "1"
    if layout in ("nested", "jagged") and not shape:
        shape = [2]
    return {"tensor": {"shape": shape, "dtype": dtype, "fill": fill, "layout": layout}}


def latent(draw: random.Random) -> Any:
    """A LATENT, or something like one."""
    made: dict[str, Any] = {"samples": tensor(draw, LATENTS)}
    extra = draw.randrange(6)
    if extra == 0:
        made["num_frames"] = draw.choice((0, -4, 3, 10**12, "4", {"number": "nan"}, None, [4]))
    elif extra == 1:
        made["noise_mask"] = tensor(draw, [[1, 64, 64], [4, 1, 8, 8], [2, 8, 8], [4, 1, 1, 8, 8]])
    elif extra == 2:
        return draw.choice(({"dict": {}}, made["samples"], {"dict": {"samples": None}}, "latent"))
    elif extra == 3:
        made["batch_index"] = draw.choice(([0] * 4, [], "0", [0, 1], {"number": "nan"}))
    return {"dict": made}


def conditioning(draw: random.Random) -> Any:
    """A CONDITIONING, or something like one."""
    settings: dict[str, Any] = {"pooled_output": None}
    concat = [[4, 4, 8, 8], [1, 4, 8, 8], [3, 4, 8, 8], [4, 9, 8, 8], [4, 4, 4, 4], [4, 4, 8, 8, 1]]
    if draw.random() < 0.5:
        settings["concat_latent_image"] = tensor(draw, concat)
    if draw.random() < 0.5:
        settings["dynamicrafter_image_context"] = tensor(
            draw, [[1, 64, 128], [4, 64, 128], [1, 16, 128], [1, 64, 64], [64, 128]]
        )
    entry = [tensor(draw, TEXTS), {"dict": settings}]
    return draw.choice(
        ([entry], [entry], [entry], [entry, entry], [], entry, [entry[:1]], [[None, entry[1]]])
    )


def clip_output(draw: random.Random) -> Any:
    return draw.choice((tensor(draw, [[1, 257, 64]]), {"stranger": 1}, {"dict": {}}, None))


def scalar(draw: random.Random) -> Any:
    """A number, a text or neither."""
    return draw.choice(
        (
            *(0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**30, 10**4000),
            *({"number": n} for n in ("nan", "inf", "-inf", "1e308", "-0.0", "0.5")),
            *("", "auto", "\ud800", "\x1b[2J\nERROR: done", "x" * 100_000, "../../etc/passwd", "0"),
            *(True, False, None, [], {"dict": {}}, {"stranger": 1}),
        )
    )


def written(draw: random.Random) -> Any:
    """A text: any, or one like those that nodes read (paths, frames, per layer)."""
    paths = ("1, 1; 1: 2, 2", "1: 2, 2; 1: 5, 5", "-9: 1, 1", "9, 9, 0", "9, 9, 19, 1e5, 1e5", "5")
    return draw.choice((*paths, "1,1;" * 9999, "1e308, 0", "\u0664, \uff11", scalar(draw)))


OWN_KINDS = {
    "MASK": lambda draw: tensor(draw, MASKS),
    "STRING": written,
    "IMAGE": lambda draw: tensor(draw, IMAGES),
    "LATENT": latent,
    "CONDITIONING": conditioning,
    "CLIP_VISION_OUTPUT": clip_output,
}


def value(draw: random.Random, wire: str) -> Any:
    """A value for an input of the type `wire`: usually near what it takes."""
    own = OWN_KINDS.get(wire)
    if own is not None and draw.random() < 0.8:
        return own(draw)
    if own is None and wire in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
        return scalar(draw)
    anything = [*OWN_KINDS.values(), scalar, lambda _: None, lambda _: {"stranger": 1}]
    return draw.choice(anything)(draw)


def is_wrong_image(given: Any) -> bool:
    """Whether no node may take this for images in 0 to 1: known from the description alone."""
    if not isinstance(given, dict) or "tensor" not in given:
        return True
    made = given["tensor"]
    shape = made["shape"]
    return (
        made["dtype"] not in FLOATS
        or made["layout"] not in ("dense", "turned")
        or len(shape) != 4
        or 0 in shape
        or shape[-1] not in (1, 3, 4)
        or made["fill"] in ("nan", "inf", "-inf", "255", "1e30", "3e38")
    )


def is_wrong_mask(given: Any) -> bool:
    """The same of masks; what lies beyond 0 to 1 is cut."""
    if not isinstance(given, dict) or "tensor" not in given:
        return True
    made = given["tensor"]
    return (
        made["dtype"] not in FLOATS
        or made["layout"] not in ("dense", "turned")
        or len(made["shape"]) not in (2, 3)
        or 0 in made["shape"]
        or made["fill"] in ("nan", "inf", "-inf")
    )


def is_wrong_latent(given: Any) -> bool:
    """The same of latents, but for the channels, which a sampler fills up in empty ones."""
    if not isinstance(given, dict) or not isinstance(given.get("dict", {}).get("samples"), dict):
        return True
    made = given["dict"]["samples"].get("tensor")
    if made is None:
        return True
    return (
        made["dtype"] not in FLOATS
        or made["layout"] not in ("dense", "turned")
        or len(made["shape"]) != 4
        or 0 in made["shape"]
        or made["fill"] in ("nan", "inf", "-inf", "1e30", "3e38")
        or (made["shape"][1] != 4 and made["fill"] != "0")
    )
