"""Across the readers of files: what programs of the field write is read, whatever its header."""

import collections
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory import peak_memory, reset_peak_memory
from safetensors.torch import save, save_file
from torch import Tensor

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import find_format, read_checkpoint

TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[k].dtype == v.dtype and found[k].shape == v.shape and bool((found[k] == v).all())
        for k, v in expected.items()
    )


def test_every_length_of_a_header_is_safetensors() -> None:
    """The length is a number, in which the first bytes of any other format may occur."""
    for length in range(2, 70_001):
        start = struct.pack("<Q", length) + b'{"a":'.ljust(504)
        assert find_format(start, 8 + length) == "safetensors", length


@pytest.mark.parametrize("length", [128, 384, 640, 19280, 0x4B50, 0x10080, 232064, 0x34B50])
def test_headers_whose_length_looks_like_another_format(length: int, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(4.0)}
    empty = len(save(tensors, {"prompt": ""})) - 24
    while empty % 8:
        empty += 1
    path = tmp_path / "a.safetensors"
    for pad in range(length - empty - 8, length - empty + 9):
        save_file(tensors, path, {"prompt": "x" * max(0, pad)})
        if int.from_bytes(path.read_bytes()[:8], "little") == length:
            break
    assert int.from_bytes(path.read_bytes()[:8], "little") == length
    assert equal(read_checkpoint(path).tensors, tensors)


def test_a_workflow_of_megabytes_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(2)}, path, {"workflow": "x" * 20_000_000})
    assert len(read_checkpoint(path).metadata["workflow"]) == 20_000_000


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_every_type_that_files_have(dtype: torch.dtype, form: str, tmp_path: Path) -> None:
    if form == "legacy" and dtype.itemsize == 1 and dtype.is_floating_point:
        pytest.skip("PyTorch's older format has no 8-bit floating numbers")
    tensors = {"a": torch.tensor([0, 1, 0, 1, 1, 1]).view(2, 3).to(dtype), "b": torch.ones(5)}
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.ckpt")
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    assert equal(read_checkpoint(path).tensors, tensors)


def trained() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a trainer writes, and the tensors in it."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "global_step": 10**6,
        "pytorch-lightning_version": "1.9.3",
        "state_dict": network.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.1)}},
        "hyper_parameters": {"lr": 1e-4, "betas": (0.9, 0.999), "name": "größer", "none": None},
        "random": {"torch": torch.get_rng_state(), "bytes": b"\xff\x00", "array": np.float64(0.5)},
        "seen": {1, 2},
        "frozen": frozenset("ab"),
        "empty": b"",
        "milestones": collections.Counter({1_500_000: 1, -(2**70): 1}),
        "by": {None: 1, 0.5: 2, True: 3, 10**400: 4},
        "counts": collections.Counter("abc"),
        "lists": collections.defaultdict(list, {"a": [1]}),
        "types": [torch.float16, torch.Size([1, 2]), torch.device("cpu")],
    }
    return content, network.state_dict()


@ZIPPED
def test_a_training_checkpoint(zipped: bool, tmp_path: Path) -> None:
    content, expected = trained()
    path = tmp_path / "last.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert equal(found.tensors, expected)
    assert found.numbers == {"epoch": 3, "global_step": 10**6}


@pytest.mark.parametrize(("protocol", "zipped"), [(2, True), (3, True), (2, False)])
def test_what_a_trainer_keeps_in_either_protocol(
    protocol: int, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    content = {"state_dict": {"a": torch.ones(2)}, "seen": {1}, "frozen": frozenset([1])}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(path).tensors, {"a": torch.ones(2)})


@ZIPPED
def test_a_pickle_that_is_too_long_is_named(zipped: bool, tmp_path: Path) -> None:
    """A trainer's list of each step's loss."""
    path = tmp_path / "last.ckpt"
    content = {"state_dict": {"a": torch.ones(2)}, "losses": [i * 1.1 for i in range(400_000)]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="takes more than the 3 MB that are read: convert"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["code.ckpt", "code.pt", "data.pkl.ckpt"])
def test_a_file_may_be_called_as_a_program_calls_its_folder(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / name)
    assert equal(read_checkpoint(tmp_path / name).tensors, {"a": torch.ones(2)})


@ZIPPED
def test_deepspeed_cuts_parameters_out_of_one_buffer(zipped: bool, tmp_path: Path) -> None:
    buffer = torch.arange(24.0)
    tensors = {"a": buffer[:6].view(2, 3), "b": buffer[6:12].view(3, 2).t(), "c": buffer[:6]}
    path = tmp_path / "mp_rank_00_model_states.pt"
    content = {"module": tensors, "optimizer": None, "ds_version": "0.14", "param_shapes": [{}]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(path).tensors, tensors)


@ZIPPED
def test_parameters_empty_tensors_and_scalars(zipped: bool, tmp_path: Path) -> None:
    tensors = {
        "parameter": torch.nn.Parameter(torch.ones(3)).detach(),
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(2.0),
        "expanded": torch.ones(1).expand(4),
    }
    path = tmp_path / "a.pth"
    content = {**tensors, "parameter": torch.nn.Parameter(torch.ones(3))}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(path).tensors, tensors)


def test_what_is_written_to_a_tensor_does_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.ones(1000)}, path)
    before = path.read_bytes()
    read_checkpoint(path).tensors["a"].zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("name", ["模型", "a b#%", "caf\udce9"])
def test_names_of_any_letters(form: str, name: str, tmp_path: Path) -> None:
    plain = tmp_path / ("plain.safetensors" if form == "safetensors" else "plain.ckpt")
    path = plain.with_stem(name)
    if form == "safetensors":
        save_file({"a": torch.ones(2)}, plain)
    else:
        torch.save({"a": torch.ones(2)}, plain, _use_new_zipfile_serialization=form == "zip")
    try:
        plain.rename(path)
    except (OSError, UnicodeError):
        pytest.skip("this file system has no such names")
    if form == "safetensors" and name.startswith("caf"):
        with pytest.raises(CheckpointError, match=r"not UTF-8.*rename it"):
            read_checkpoint(path)
    else:
        assert equal(read_checkpoint(path).tensors, {"a": torch.ones(2)})


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_reading_holds_the_file_once(form: str, tmp_path: Path) -> None:
    size = 64 * 2**20
    tensors = {f"layer.{i}": torch.full((size // 32,), float(i)) for i in range(8)}
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.ckpt")
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    del tensors
    reset_peak_memory(os.getpid())
    before = peak_memory(os.getpid())
    found = read_checkpoint(path).tensors
    assert float(sum(t.sum() for t in found.values())) == sum(range(8)) * size / 32
    assert peak_memory(os.getpid()) - before < 1.1 * size
