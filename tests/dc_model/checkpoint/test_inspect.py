"""Whole files are read; cut, flipped and renamed ones end in one sentence."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from checkpoint_files import SUFFIX, TENSORS, read_or_refuse, refused
from safetensors.torch import save_file

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import find_format, read_checkpoint
from dc_model.checkpoint.layout import shapes
from dc_model.metrics.torchscript import ScriptError, inspect_script


@pytest.mark.parametrize("form", list(SUFFIX))
def test_whole_files_are_read(form: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(whole[form])
    assert find_format(whole[form][:512], len(whole[form])) == form
    found = read_checkpoint(path).tensors
    assert all(torch.equal(found[key], tensor) for key, tensor in TENSORS.items())


@pytest.mark.parametrize("form", list(SUFFIX))
def test_shapes_are_known_before_a_tensor_is_read(
    form: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(whole[form])
    seen = []

    def check(found: object) -> None:
        seen.append(found)
        raise CheckpointError("of another family.")

    with pytest.raises(CheckpointError, match="another family"):
        read_checkpoint(path, check=check, load=lambda _: pytest.fail("a tensor was read"))
    assert seen == [shapes(TENSORS)]


def test_metadata_is_read(whole: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole["safetensors"])
    assert read_checkpoint(path).metadata == {"note": "x"}


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
    assert "download the file again" in refused(path)


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
    "an error in XML": (b"<Error><Code>AccessDenied</Code></Error>", "web page"),
    "a body alone": (b"<body>Forbidden</body>", "web page"),
    "an index": (b'{"weight_map": {"a": "model-00001-of-2.safetensors"}}', "choose a single file"),
    "tar of old PyTorch": (b"sys_info".ljust(257, b"\0") + b"ustar" + bytes(250), "before 0.4"),
    "xz": (b"\xfd7zXZ\0" + bytes(64), "unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(64), "unpack it"),
    "bzip2": (b"BZh91AY&SY" + bytes(64), "unpack it"),
    "webp": (b"RIFF\x10\0\0\0WEBP" + bytes(64), "picture"),
    "mp4": (b"\0\0\0\x20ftypisom" + bytes(64), "video"),
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


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_pipes_folders_and_loops_of_links_are_refused_at_once(suffix: str, tmp_path: Path) -> None:
    """A pipe would wait for its writer without end."""
    pipe, folder, link = (tmp_path / f"{name}{suffix}" for name in ("pipe", "folder", "link"))
    folder.mkdir()
    assert "It is a folder" in refused(folder)
    link.symlink_to(link)
    assert "cannot be read" in refused(link)
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        assert "a pipe" in refused(pipe)
        with pytest.raises(ScriptError, match="a pipe"):
            inspect_script(pipe)


def test_a_file_that_is_replaced_between_check_and_load(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole["safetensors"])
    with pytest.raises(CheckpointError, match="the file changed"):
        read_checkpoint(path, check=lambda _: save_file({"other": torch.ones(2)}, path))


@pytest.mark.parametrize("form", list(SUFFIX))
def test_another_format_under_the_name(form: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    wrong = ".ckpt" if form == "safetensors" else ".safetensors"
    path = tmp_path / f"a{wrong}"
    path.write_bytes(whole[form])
    assert f"rename it to end in {SUFFIX[form]}" in refused(path)
