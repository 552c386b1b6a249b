"""Hostile and broken files: every one ends in one sentence, none runs code or fills the memory."""

import json
import pickle
import pickletools
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dc_model.checkpoint import refuse_foreign, shapes, split_checkpoint, unwrap
from dc_model.detect import CheckpointError
from dc_model.inspect_file import inspect_file, load_pickle

# Headers and listings are a few kilobytes here; a reader that believes a claim takes gigabytes.
MEMORY_LIMIT = 200 * 1024**2
TENSORS = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.arange(288.0).view(4, 8, 3, 3),
    "alphas_cumprod": torch.linspace(1, 0, 10),
    "model.diffusion_model.out.2.bias": torch.ones(4, dtype=torch.float16),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of one small file in each format."""
    folder = tmp_path_factory.mktemp("whole")
    save_file(TENSORS, folder / "a.safetensors", {"note": "x"})
    content = {"state_dict": TENSORS, "global_step": 7}
    torch.save(content, folder / "a.ckpt")
    torch.save(content, folder / "b.ckpt", _use_new_zipfile_serialization=False)
    names = {"safetensors": "a.safetensors", "zip": "a.ckpt", "legacy": "b.ckpt"}
    return {form: (folder / name).read_bytes() for form, name in names.items()}


SUFFIX = {"safetensors": ".safetensors", "zip": ".ckpt", "legacy": ".ckpt"}


def read(path: Path) -> dict[str, torch.Tensor]:
    """All that the loader does to a file before its tensors become weights."""
    content = inspect_file(path)
    if content.format == "safetensors":
        return load_file(path)
    return unwrap(load_pickle(path, mapped=content.format == "zip"))


def read_or_refuse(path: Path) -> str | None:
    """None for a file that reads, else the message; any other exception fails the test."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
    except CheckpointError as error:
        return str(error)
    finally:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < MEMORY_LIMIT
    return None


def refused(path: Path) -> str:
    message = read_or_refuse(path)
    assert message is not None, "the file was read"
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("form", list(SUFFIX))
def test_whole_files_are_read(form: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(whole[form])
    assert inspect_file(path).format == form
    found = read(path)
    assert all(torch.equal(found[key], tensor) for key, tensor in TENSORS.items())


def test_shapes_are_known_before_a_tensor_is_read(whole: dict[str, bytes], tmp_path: Path) -> None:
    expected = shapes(TENSORS)
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole["safetensors"])
    content = inspect_file(path)
    assert content.shapes == expected
    assert content.metadata == {"note": "x"}
    assert content.tensors["alphas_cumprod"].dtype == "F32"
    path = tmp_path / "a.ckpt"
    path.write_bytes(whole["zip"])
    listing = unwrap(inspect_file(path).listing)
    assert shapes(listing) == expected
    assert all(tensor.is_meta for tensor in listing.values())


# -- cut, flipped, renamed -------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(SUFFIX))
@pytest.mark.parametrize("percent", [0, 1, 3, 7, 15, 25, 40, 50, 65, 75, 85, 95, 99])
def test_truncated_files(form: str, percent: int, whole: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(whole[form][: len(whole[form]) * percent // 100])
    assert "download" in refused(path)


@pytest.mark.parametrize("form", list(SUFFIX))
@pytest.mark.parametrize("seed", range(20))
def test_flipped_bits_never_break_the_reader(
    form: str, seed: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(seed)
    data = bytearray(whole[form])
    for place in torch.randint(0, min(len(data), 1500), (3,), generator=generator).tolist():
        data[place] ^= 1 << (place % 8)
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(data)
    read_or_refuse(path)


@pytest.mark.parametrize("extra", [b"\x00", b"trailing", b"\x00" * 5000])
def test_trailing_bytes_of_safetensors(
    extra: bytes, whole: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole["safetensors"] + extra)
    assert "its header tells of" in refused(path)


RENAMED = {
    "empty": (b"", "is empty"),
    "text": (b"Repository not found.\n", "text file"),
    "german": ("Zugriff verweigert: größer".encode(), "text file"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "html in capitals": (b"\n <HTML><head></head></HTML>", "web page"),
    "xml": (b"<?xml version='1.0'?><Error/>", "web page"),
    "json": (b'{"error": "gated repository"}', "text file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "gzip"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "7z"),
    "rar": (b"Rar!\x1a\x07" + bytes(64), "RAR"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "zeros": (bytes(4096), "zeros"),
    "noise": (bytes(range(255, 127, -1)) * 8, "unknown format"),
    "one byte": (b"\x00", "download"),
    "seven bytes": (b"\x02\x00\x00\x00\x00\x00\x00", "download"),
    "a bare pickle": (pickle.dumps({"a": [1, 2]}), "can run code"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".sft", ".ckpt", ".pt", ".pth"])
@pytest.mark.parametrize("name", list(RENAMED))
def test_other_files_are_named(name: str, suffix: str, tmp_path: Path) -> None:
    data, fragment = RENAMED[name]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(data)
    assert fragment in refused(path)


@pytest.mark.parametrize("form", list(SUFFIX))
def test_another_format_under_the_name(form: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    wrong = ".ckpt" if form == "safetensors" else ".safetensors"
    path = tmp_path / f"a{wrong}"
    path.write_bytes(whole[form])
    assert f"rename it to end in {SUFFIX[form]}" in refused(path)


# -- headers of safetensors ------------------------------------------------------------------------


def safetensors(path: Path, header: Any, data: int = 0) -> Path:
    """A file with this header (an object or raw bytes) and so many bytes of zeros behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    return path


def entry(shape: Any, start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


PETABYTE = 10**15
HEADERS: dict[str, tuple[Any, int, str]] = {
    "a petabyte": ({"a": entry([PETABYTE // 4], 0, PETABYTE)}, 16, "its header tells of"),
    "a petabyte in 16 bytes": ({"a": entry([PETABYTE // 4], 0, 16)}, 16, "contradicts itself"),
    "more than 64 bits": ({"a": entry([2**62, 2**62], 0, 16)}, 16, "contradicts itself"),
    "huge offsets": ({"a": entry([4], 2**63, 2**63 + 16)}, 16, "contradicts itself"),
    "a hole": ({"a": entry([2], 0, 8), "b": entry([2], 16, 24)}, 24, "leave a hole"),
    "an overlap": ({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, 24, "overlap"),
    "a late start": ({"a": entry([4], 8, 24)}, 24, "leave a hole"),
    "backwards": ({"a": entry([4], 16, 0)}, 16, "contradicts itself"),
    "a negative start": ({"a": entry([4], -16, 0)}, 16, "contradicts itself"),
    "a negative size": ({"a": entry([-4], 0, 16)}, 16, "shape that no tensor has"),
    "two negative sizes": ({"a": entry([-2, -2], 0, 16)}, 16, "shape that no tensor has"),
    "a real size": ({"a": entry([4.0], 0, 16)}, 16, "shape that no tensor has"),
    "a true size": ({"a": entry([True], 0, 4)}, 4, "shape that no tensor has"),
    "a NaN size": ({"a": entry([float("nan")], 0, 16)}, 16, "shape that no tensor has"),
    "a text size": ({"a": entry(["4"], 0, 16)}, 16, "shape that no tensor has"),
    "a text shape": ({"a": entry("4", 0, 16)}, 16, "shape that no tensor has"),
    "many axes": ({"a": entry([1] * 65, 0, 4)}, 4, "shape that no tensor has"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, 4, "lacks type"),
    "no type": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, 4, "lacks type"),
    "no place": ({"a": {"dtype": "F32", "shape": [1]}}, 4, "lacks type"),
    "one offset": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, 4, "lacks type"),
    "three offsets": (
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}},
        4,
        "lacks type",
    ),
    "a real offset": ({"a": entry([1], 0.0, 4.0)}, 4, "contradicts itself"),
    "an unknown type": ({"a": entry([1], 0, 4, "Q4_K")}, 4, "is of type"),
    "a number for a type": ({"a": entry([1], 0, 4, 32)}, 4, "is of type"),
    "the wrong type": ({"a": entry([4], 0, 16, "F16")}, 16, "contradicts itself"),
    "a list for a tensor": ({"a": [1, 2]}, 4, "lacks type"),
    "nothing for a tensor": ({"a": None}, 4, "lacks type"),
    "a list": ([1, 2], 0, "text file|no safetensors|unknown format"),
    "a text": (b'"header"', 0, "no safetensors"),
    "no JSON": (b"{not json}", 0, "header is damaged"),
    "half a JSON": (b'{"a": {"dtype": "F32"', 0, "header is damaged"),
    "no UTF-8": (b'{"\xff\xfe": 1}', 0, "header is damaged"),
    "a number of 5000 digits": (
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}',
        4,
        "header is damaged",
    ),
    "deep nesting": (b'{"a": ' + b"[" * 200_000, 0, "header is damaged"),
    "metadata in numbers": ({"__metadata__": {"a": 1}}, 0, "metadata is damaged"),
    "metadata in a list": ({"__metadata__": ["a"]}, 0, "metadata is damaged"),
    "a doubled key": (
        b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        4,
        "names a twice",
    ),
    "a doubled field": (
        b'{"a": {"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}',
        4,
        "names dtype twice",
    ),
    "too little data": ({"a": entry([100], 0, 400)}, 399, "its header tells of"),
    "no data": ({"a": entry([100], 0, 400)}, 0, "its header tells of"),
}


@pytest.mark.parametrize("name", list(HEADERS))
def test_impossible_headers(name: str, tmp_path: Path) -> None:
    header, data, fragment = HEADERS[name]
    message = refused(safetensors(tmp_path / "a.safetensors", header, data))
    assert any(part in message for part in fragment.split("|")), message


@pytest.mark.parametrize("length", [2**24 + 1, 10**8, 2**40, 2**63, 2**64 - 1])
def test_headers_of_impossible_length(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"a": 1}')
    assert "more than the" in refused(path)


def test_a_sparse_file_of_a_terabyte_is_refused_by_its_family(tmp_path: Path) -> None:
    """All sizes agree, but nobody reads a tensor of it."""
    size = 2**40
    path = safetensors(tmp_path / "a.safetensors", {"head.weight": entry([size // 4], 0, size)})
    try:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + size)
    except OSError:
        pytest.skip("this file system has no files of a terabyte")
    content = inspect_file(path)
    with pytest.raises(CheckpointError, match="no video U-Net"):
        refuse_foreign(content.shapes)


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


# -- pickles ---------------------------------------------------------------------------------------


class Runs:
    """An object whose unpickling runs a call."""

    def __init__(self, call: Callable[..., Any], *arguments: Any):
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def canary_calls(canary: Path) -> dict[str, Runs]:
    """Calls that would write the canary."""
    import builtins
    import os
    import subprocess

    command = f"touch {canary}"
    return {
        "os.system": Runs(os.system, command),
        "subprocess": Runs(subprocess.call, ["touch", str(canary)]),
        "open": Runs(builtins.open, str(canary), "w"),
        "exec": Runs(builtins.exec, f"open({str(canary)!r}, 'w')"),
        "eval": Runs(builtins.eval, f"open({str(canary)!r}, 'w')"),
        "import": Runs(builtins.__import__, "antigravity"),
        "copyfile": Runs(shutil.copyfile, __file__, str(canary)),
        "torch.load": Runs(torch.load, str(canary)),
        "getattr": Runs(getattr, "text", "upper"),
    }


CALLS = list(canary_calls(Path("canary")))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("where", ["value", "wrapper", "tensor"])
@pytest.mark.parametrize("call", CALLS)
def test_pickles_never_run_code(call: str, where: str, zipped: bool, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile = canary_calls(canary)[call]
    content: Any = {
        "value": {"state_dict": TENSORS, "callbacks": hostile},
        "wrapper": {"state_dict": hostile},
        "tensor": {"state_dict": {**TENSORS, "model.x": hostile}},
    }[where]
    path = tmp_path / "a.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "can run code" in refused(path)
    assert not canary.exists()


@pytest.mark.parametrize("call", CALLS)
def test_bare_pickles_never_run_code(call: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(canary_calls(canary)[call]))
    assert "can run code" in refused(path)
    assert not canary.exists()


@pytest.mark.parametrize("content", [[1, 2], 7, "text", None, {}, {"state_dict": {}}, {"a": 1}])
def test_pickles_without_tensors(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(content, path)
    listing = inspect_file(path).listing
    assert listing == content
    if isinstance(content, dict):
        assert "no tensors" in refused(path)


def rewritten(
    data: bytes, path: Path, change: Callable[[str, bytes], bytes | None], **options: Any
) -> Path:
    """A zip checkpoint whose records went through `change`; None drops one."""
    (path.parent / "source").write_bytes(data)
    with zipfile.ZipFile(path.parent / "source") as source, zipfile.ZipFile(path, "w") as target:
        for record in source.infolist():
            changed = change(record.filename, source.read(record))
            if changed is not None:
                target.writestr(record.filename, changed, **options)
    return path


def test_a_rewritten_archive_still_reads(whole: dict[str, bytes], tmp_path: Path) -> None:
    assert read_or_refuse(rewritten(whole["zip"], tmp_path / "a.ckpt", lambda _, d: d)) is None


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_archives_are_refused(method: int, whole: dict[str, bytes], tmp_path: Path) -> None:
    """A bomb: 300 MB of zeros in a few hundred kilobytes."""
    bomb = bytes(300 * 1024**2 if method == zipfile.ZIP_DEFLATED else 1024**2)
    path = rewritten(
        whole["zip"],
        tmp_path / "a.ckpt",
        lambda name, data: bomb if name.endswith("data/0") else data,
        compress_type=method,
    )
    assert "is packed" in refused(path)


@pytest.mark.parametrize("size", [2**31 - 1, 2**24])
def test_pickles_that_claim_more_than_the_file(
    size: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """The shape's 4 is replaced by a large number."""
    large = pickle.BININT + size.to_bytes(4, "little")

    def claim(name: str, data: bytes) -> bytes:
        shape = b"(K\x04K\x08K\x03K\x03t"
        assert not name.endswith("data.pkl") or shape in data
        return data.replace(shape, b"(" + large + b"K\x08K\x03K\x03t")

    path = rewritten(whole["zip"], tmp_path / "a.ckpt", claim)
    assert "but the file has" in refused(path)


@pytest.mark.parametrize("record", ["data.pkl", "data/0", "data/1", "version", "byteorder"])
def test_archives_that_lack_a_record(record: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    path = rewritten(
        whole["zip"], tmp_path / "a.ckpt", lambda n, d: None if n.endswith(record) else d
    )
    message = read_or_refuse(path)
    assert message is not None or record == "byteorder"


def test_a_program_is_no_checkpoint(whole: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(whole["zip"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/code/__torch__.py", "")
    assert "TorchScript" in refused(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "unpack me")
    assert "unpack it" in refused(path)


@pytest.mark.parametrize("start", [b"PK", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_zips_without_an_end(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(start)
    refused(path)


# -- fuzz ------------------------------------------------------------------------------------------

FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
counts = st.integers(-2, 2**64)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "I64", "BOOL", "F4", ""]),
        "shape": st.lists(counts, max_size=5),
        "data_offsets": st.lists(counts, min_size=1, max_size=3),
    }
)


@FUZZ
@given(header=st.dictionaries(st.text(max_size=12), entries | json_values, max_size=4))
def test_fuzz_of_headers(header: dict[str, Any], tmp_path: Path) -> None:
    read_or_refuse(safetensors(tmp_path / "a.safetensors", header, 64))


@FUZZ
@given(data=st.binary(max_size=400), suffix=st.sampled_from([".safetensors", ".ckpt"]))
def test_fuzz_of_bytes(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    read_or_refuse(path)


@FUZZ
@given(
    form=st.sampled_from(list(SUFFIX)),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    cut=st.floats(0.2, 1),
)
def test_fuzz_of_whole_files(
    form: str,
    edits: list[tuple[float, int]],
    cut: float,
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    data = bytearray(whole[form])
    for place, value in edits:
        data[int(place * len(data))] = value
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(data[: int(len(data) * cut)])
    read_or_refuse(path)


OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]


@FUZZ
@given(program=st.lists(st.sampled_from(OPCODES) | st.binary(max_size=6), max_size=30))
def test_fuzz_of_pickle_programs(
    program: list[bytes], whole: dict[str, bytes], tmp_path: Path
) -> None:
    hostile = b"\x80\x02" + b"".join(program) + b"."
    path = rewritten(
        whole["zip"],
        tmp_path / "a.ckpt",
        lambda name, data: hostile if name.endswith("data.pkl") else data,
    )
    read_or_refuse(path)


names = st.sampled_from(
    [
        "input_blocks.0.0.weight",
        "input_blocks.1.0.in_layers.2.weight",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "input_blocks.999999999.0.op.weight",
        "input_blocks.1.1.transformer_blocks.999999999.attn2.to_k.weight",
        "out.2.weight",
        "init_attn.0.proj_in.weight",
        "relative_position_k.embeddings_table",
    ]
)
sizes = st.lists(st.sampled_from([0, 1, 3, 4, 8, 64, 320, 2**40]), max_size=5).map(tuple)


@FUZZ
@given(header=st.dictionaries(names.map(lambda n: f"model.diffusion_model.{n}"), sizes))
def test_fuzz_of_architectures(header: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(CheckpointError):
        refuse_foreign(header)
