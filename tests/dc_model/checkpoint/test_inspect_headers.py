"""Headers of safetensors without tensors: each is refused by itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import entry, refused, safetensors

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import read_checkpoint
from dc_model.checkpoint.layout import refuse_foreign, split_checkpoint

PETABYTE = 10**15
HEADERS: dict[str, tuple[Any, int]] = {
    "a petabyte": ({"a": entry([PETABYTE // 4], 0, PETABYTE)}, 16),
    "a petabyte in 16 bytes": ({"a": entry([PETABYTE // 4], 0, 16)}, 16),
    "more than 64 bits": ({"a": entry([2**62, 2**62], 0, 16)}, 16),
    "huge offsets": ({"a": entry([4], 2**63, 2**63 + 16)}, 16),
    "a hole": ({"a": entry([2], 0, 8), "b": entry([2], 16, 24)}, 24),
    "an overlap": ({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, 24),
    "a late start": ({"a": entry([4], 8, 24)}, 24),
    "backwards": ({"a": entry([4], 16, 0)}, 16),
    "a negative start": ({"a": entry([4], -16, 0)}, 16),
    "a negative size": ({"a": entry([-4], 0, 16)}, 16),
    "two negative sizes": ({"a": entry([-2, -2], 0, 16)}, 16),
    "a real size": ({"a": entry([4.0], 0, 16)}, 16),
    "a true size": ({"a": entry([True], 0, 4)}, 4),
    "a NaN size": ({"a": entry([float("nan")], 0, 16)}, 16),
    "a text size": ({"a": entry(["4"], 0, 16)}, 16),
    "a text shape": ({"a": entry("4", 0, 16)}, 16),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, 4),
    "no type": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, 4),
    "no place": ({"a": {"dtype": "F32", "shape": [1]}}, 4),
    "one offset": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, 4),
    "three offsets": (
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}},
        4,
    ),
    "a real offset": ({"a": entry([1], 0.0, 4.0)}, 4),
    "an unknown type": ({"a": entry([1], 0, 4, "Q4_K")}, 4),
    "a number for a type": ({"a": entry([1], 0, 4, 32)}, 4),
    "the wrong type": ({"a": entry([4], 0, 16, "F16")}, 16),
    "a list for a tensor": ({"a": [1, 2]}, 4),
    "nothing for a tensor": ({"a": None}, 4),
    "a list": ([1, 2], 0),
    "a text": (b'"header"', 0),
    "no JSON": (b"{not json}", 0),
    "half a JSON": (b'{"a": {"dtype": "F32"', 0),
    "no UTF-8": (b'{"\xff\xfe": 1}', 0),
    "a number of 5000 digits": (
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}',
        4,
    ),
    "deep nesting": (b'{"a": ' + b"[" * 200_000, 0),
    "metadata in numbers": ({"__metadata__": {"a": 1}}, 0),
    "metadata in a list": ({"__metadata__": ["a"]}, 0),
    "a doubled key": (
        b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        4,
    ),
    "a doubled field": (
        b'{"a": {"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}',
        4,
    ),
    "too little data": ({"a": entry([100], 0, 400)}, 399),
    "no data": ({"a": entry([100], 0, 400)}, 0),
}


@pytest.mark.parametrize("name", list(HEADERS))
def test_impossible_headers(name: str, tmp_path: Path) -> None:
    header, data = HEADERS[name]
    assert "download" in refused(safetensors(tmp_path / "a.safetensors", header, data))


@pytest.mark.parametrize("length", [2**24 + 1, 10**8, 10**8 + 1, 2**40, 2**63, 2**64 - 1])
def test_headers_of_impossible_length(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"a": 1}')
    assert "download" in refused(path)


def test_a_sparse_file_of_a_terabyte_is_refused_by_its_family(tmp_path: Path) -> None:
    """All sizes agree, but nobody reads a tensor of it."""
    size = 2**40
    path = safetensors(tmp_path / "a.safetensors", {"head.weight": entry([size // 4], 0, size)})
    try:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + size)
    except OSError:
        pytest.skip("this file system has no files of a terabyte")
    with pytest.raises(CheckpointError, match="no video U-Net"):
        read_checkpoint(path, check=refuse_foreign)


@pytest.mark.parametrize(
    "shape",
    [(), (4,), (0, 8, 3, 3), (4, 0, 3, 3), (4, 8), (4, 8, 3, 3, 1), (2**40, 8, 3, 3)],
    ids=str,
)
def test_a_first_convolution_of_any_shape_is_refused(shape: tuple[int, ...]) -> None:
    header = {"model.diffusion_model.input_blocks.0.0.weight": shape}
    with pytest.raises(CheckpointError):
        refuse_foreign(header)


def test_two_spellings_of_one_key_are_refused() -> None:
    tensors = {f"model.diffusion_model.{name}_embed.0.weight": torch.ones(1) for name in ("x",)}
    tensors["_forward_module.model.diffusion_model.x_embed.0.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError):
        split_checkpoint(tensors)
