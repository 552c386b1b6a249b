"""Files of a few kilobytes that ask for gigabytes or hours: refused before any of it is spent."""

import io
import json
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import read_or_refuse, refused, rewritten, safetensors

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import read_checkpoint
from dc_model.checkpoint.layout import refuse_foreign
from dc_model.checkpoint.pickles import MAX_PICKLE
from dc_model.projection import detect_projection_arch
from dc_model.toon.dual_reference_vae import detect_dual_reference_arch
from dc_model.toon.sketch_controlnet import detect_sketch_control_arch

UNET = "model.diffusion_model."

GLOBAL, REDUCE, TUPLE1, TUPLE2 = b"c", b"R", b"\x85", b"\x86"
BYTE_ARRAY = b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10" + TUPLE1 + REDUCE  # 64 GB
PYTHON_2_BYTE_ARRAY = BYTE_ARRAY.replace(b"builtins", b"__builtin__")


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


PROGRAMS = {
    "a byte array": (BYTE_ARRAY, "builtins.bytearray"),
    "a byte array of Python 2": (PYTHON_2_BYTE_ARRAY, "__builtin__.bytearray"),
    "a long text": (
        text("a" * (MAX_PICKLE + 1)),
        "more than the 3 MB that are read: convert",
    ),
    "a text that is not there": (b"X\xff\xff\xff\x7fa", "is damaged"),
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_pickles_that_grow(name: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    program, fragment = PROGRAMS[name]
    path = rewritten(
        whole["zip"],
        tmp_path / "a.ckpt",
        lambda record, data: b"\x80\x02" + program + b"." if record.endswith(".pkl") else data,
    )
    assert fragment in refused(path)


def test_a_listing_may_fill_its_megabytes_with_containers(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    """The largest that a pickle can become: a list of 80 bytes for each of its 3 million bytes."""
    path = rewritten(
        whole["zip"],
        tmp_path / "a.ckpt",
        lambda record, data: b"]" * MAX_PICKLE if record.endswith(".pkl") else data,
    )
    assert "is damaged" in refused(path, limit=100 * MAX_PICKLE)


def repeated(name: bytes, arguments: bytes) -> bytes:
    """A list of the results of many calls with the same arguments, which have a megabyte."""
    made = b"c" + name + b"q\x00" + arguments + b"q\x01"
    return made + b"](" + b"h\x00h\x01R" * 100_000 + b"e."


@pytest.mark.parametrize(
    ("program", "fragment"),
    [
        (
            repeated(b"_codecs\nencode\n", text("a" * 1_000_000) + text("latin1") + TUPLE2),
            "holds a list",
        ),
        (
            repeated(b"numpy\ndtype\n", b"(" + b"N" * 1_000_000 + b"t"),
            "a call with 1000000 arguments",
        ),
    ],
    ids=["bytes", "types"],
)
def test_calls_that_would_copy_what_they_are_given(
    program: bytes, fragment: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    path = rewritten(
        whole["zip"],
        tmp_path / "a.ckpt",
        lambda record, data: b"\x80\x02" + program if record.endswith(".pkl") else data,
    )
    assert fragment in refused(path, limit=100 * MAX_PICKLE)


@pytest.mark.parametrize("place", [2, 3, 4])
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_legacy_pickles_that_grow(
    name: str, place: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """In place of the machine's description, the content or the storages' names."""
    program, fragment = PROGRAMS[name]
    stream, pieces = io.BytesIO(whole["legacy"]), []
    for _ in range(5):
        start = stream.tell()
        assert [*pickletools.genops(stream)]
        pieces.append(whole["legacy"][start : stream.tell()])
    pieces[place] = b"\x80\x02" + program + b"."
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"".join(pieces) + stream.read())
    assert fragment in refused(path)


def test_a_tensor_that_repeats_its_elements(tmp_path: Path) -> None:
    """Four bytes that would become terabytes where they are used."""
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.zeros(1).expand(2**40)}, path)
    assert "more bytes than the file" in refused(path)


def test_sparse_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.eye(3).to_sparse()}, path)
    assert "sparse" in refused(path)


def test_tensors_in_one_storage_are_read(tmp_path: Path) -> None:
    """DeepSpeed cuts parameters out of one buffer; tied weights have two names."""
    buffer = torch.arange(3000.0)
    path = tmp_path / "a.ckpt"
    content = {f"part{i}": buffer[100 * i : 100 * (i + 1)] for i in range(30)}
    torch.save({**content, "tied": buffer[:100], "whole": buffer[:2000]}, path)
    assert read_or_refuse(path) is None


# -- archives --------------------------------------------------------------------------------------


def test_a_doubled_record_is_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(whole["zip"])
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        name = next(n for n in archive.namelist() if n.endswith("data/0"))
        archive.writestr(name, bytes(16))
    assert "doubled records" in refused(path)


def _entries(data: bytearray) -> list[int]:
    """Where the central directory's entries start."""
    places, at = [], data.find(b"PK\x01\x02")
    while at >= 0:
        places.append(at)
        at = data.find(b"PK\x01\x02", at + 4)
    return places


def test_overlapping_records_are_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    """Two names for the same bytes: as many copies in memory as there are names."""
    path = rewritten(whole["zip"], tmp_path / "a.ckpt", lambda _, data: data)
    data = bytearray(path.read_bytes())
    *_, one, two = _entries(data)
    for field in (slice(16, 28), slice(42, 46)):  # checksum and sizes; place
        data[two + field.start : two + field.stop] = data[one + field.start : one + field.stop]
    path.write_bytes(data)
    assert "not where its directory says" in refused(path)


def test_records_behind_the_end_are_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    path = rewritten(whole["zip"], tmp_path / "a.ckpt", lambda _, data: data)
    data = bytearray(path.read_bytes())
    last = _entries(data)[-1]
    size = (2**31).to_bytes(4, "little")
    data[last + 20 : last + 28] = size + size
    path.write_bytes(data)
    assert "bytes that its directory lacks" in refused(path)


# -- headers ---------------------------------------------------------------------------------------


def test_a_double_among_many_names_is_found_at_once(tmp_path: Path) -> None:
    entry = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    names = b",".join(b'"%d":%s' % (i, entry) for i in range(100_000))
    path = safetensors(tmp_path / "a.safetensors", b"{%s,%s}" % (names, b'"99999":' + entry))
    assert "names 99999 twice" in refused(path)


@pytest.mark.parametrize(
    "header",
    [
        {"x" * 1_000_000: 1},
        {"x" * 1_000_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "x" * 1_000_000, "shape": [1], "data_offsets": [0, 4]}},
        b'{"%s":0,"%s":0}' % (b"x" * 1_000_000, b"x" * 1_000_000),
    ],
    ids=["key", "place", "type", "double"],
)
def test_messages_stay_short(header: Any, tmp_path: Path) -> None:
    assert len(refused(safetensors(tmp_path / "a.safetensors", header, 4))) < 1000


def test_a_message_about_a_foreign_file_stays_short() -> None:
    with pytest.raises(CheckpointError) as caught:
        refuse_foreign({"x" * 1_000_000: (1,)})
    assert len(str(caught.value)) < 1000


def unet(**more: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """What detection reads of a U-Net; sizes of 0 make any shape free of bytes."""
    return {
        UNET + "input_blocks.0.0.weight": (32, 8, 0),
        UNET + "input_blocks.1.0.in_layers.2.weight": (32, 0),
        UNET + "input_blocks.1.1.norm.weight": (0,),
        UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (0, 128),
        UNET + "middle_block.3.in_layers.0.weight": (0,),
        UNET + "out.2.weight": (4, 0),
        **{UNET + key: shape for key, shape in more.items()},
    }


MANY = range(1, 20_000)
TOWERS = {
    "deep transformers": {f"input_blocks.1.1.transformer_blocks.{i}.a": (0,) for i in MANY},
    "many blocks": {f"input_blocks.{i}.0.in_layers.2.weight": (32, 0) for i in MANY},
    "many levels": {f"input_blocks.{i}.0.op.weight": (32, 0) for i in MANY if i > 1},
    "deep and wide": {
        **{f"input_blocks.1.1.transformer_blocks.{i}.a": (0,) for i in range(200)},
        **{f"input_blocks.{i}.0.in_layers.2.weight": (32, 0) for i in range(1, 200)},
    },
}


@pytest.mark.parametrize("name", list(TOWERS))
def test_towers_that_no_machine_builds(name: str, tmp_path: Path) -> None:
    """A header of empty tensors takes no bytes, and a network of it hours."""
    empty = {"dtype": "F32", "data_offsets": [0, 0]}
    header = {key: {**empty, "shape": shape} for key, shape in unet(**TOWERS[name]).items()}
    path = safetensors(tmp_path / "a.safetensors", json.dumps(header).encode())
    with pytest.raises(CheckpointError, match="more than 256"):
        read_checkpoint(path, check=refuse_foreign)


def test_other_parts_with_too_many_layers() -> None:
    projection = {"latents": (1, 16, 64), **{f"layers.{i}.0.to_q.weight": (0,) for i in MANY}}
    with pytest.raises(ValueError, match="more than 64"):
        detect_projection_arch(projection)
    vae = {
        "encoder.conv_in.weight": (32, 3),
        **{f"encoder.down.{i}.block.0.conv2.weight": (32, 0) for i in range(1000)},
    }
    with pytest.raises(ValueError, match="more than 64"):
        detect_dual_reference_arch(vae)
    sketch = {
        "input_hint_block.0.weight": (16, 1, 3, 3),
        "zero_convs.0.0.weight": (32, 32, 1, 1),
        "middle_block.1.proj_in.weight": (32, 32),
        "input_blocks.0.0.weight": (32, 4, 3, 3),
        **{f"input_blocks.{i}.0.in_layers.2.weight": (32, 0) for i in MANY},
    }
    with pytest.raises(ValueError, match="more than 256"):
        detect_sketch_control_arch(sketch)
