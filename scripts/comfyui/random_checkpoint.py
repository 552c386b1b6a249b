"""Writes a checkpoint of given keys and shapes with random weights, straight to its file.

    write_checkpoint(path, shapes, "F16")

For machines without the published files: the network does as much work, and shows noise. Tensors
are written one after the other, so a file of 5 GB takes the memory of its largest tensor.
"""

import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Shapes = Mapping[str, Sequence[int]]

TYPES = {"F16": np.float16, "F32": np.float32}
OUTPUT = "model.diffusion_model.out.2.weight"
# A network as loud as its input would lead the sampler far away.
OUTPUT_GAIN = 0.5
# Drawn once and read from places that the key decides, for drawing 2.5 billion takes a minute.
POOL = 4_194_301


def read_manifest(path: Path) -> dict[str, list[int]]:
    """Keys and shapes of a published file, without the tables of its noise schedule.

    path: of `tests/golden/manifests`, or a golden pipeline's JSON. A file without the tables is
    sampled by its variant's.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        content: dict[str, Any] = json.load(file)
    shapes = content.get("keys") or content["manifest"]
    return {key: shape for key, shape in shapes.items() if "." in key}


def write_checkpoint(path: Path, shapes: Shapes, dtype: str = "F16", seed: int = 0) -> Path:
    """A safetensors file of random weights; dtype: a key of TYPES."""
    size = np.dtype(TYPES[dtype]).itemsize
    header: dict[str, Any] = {}
    offset = 0
    for key, shape in shapes.items():
        end = offset + math.prod(shape) * size
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = _source(seed, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key, shape in shapes.items():
            file.write(draw(key, tuple(shape)).data)
    return path


def _source(seed: int, dtype: str) -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """A function that gives a key's weights, flat: of fan-in scale, so activations keep theirs."""
    random = np.random.default_rng(seed)
    pool = random.standard_normal(POOL, dtype=np.float32)

    def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
        count = math.prod(shape)
        start = int(random.integers(max(1, POOL - count)))
        noise = np.resize(pool[start : start + count], count)  # repeats where the pool is smaller
        return (_level(key, shape) + _spread(key, shape) * noise).astype(TYPES[dtype])

    return draw


def _level(key: str, shape: tuple[int, ...]) -> float:
    return 1.0 if len(shape) == 1 and key.endswith("weight") else 0.0


def _spread(key: str, shape: tuple[int, ...]) -> float:
    if len(shape) < 2:
        return 0.1
    if "embedding" in key or key.endswith(("latents", ".proj")):
        return 0.3
    gain = OUTPUT_GAIN if key == OUTPUT else 1.0
    return gain / math.sqrt(math.prod(shape[1:]))
