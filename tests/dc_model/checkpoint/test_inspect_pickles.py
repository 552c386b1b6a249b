"""Hostile and broken pickles: none runs code, none fills the memory."""

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import TENSORS, read_or_refuse, refused, rewritten


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
    expected = "no tensors" if isinstance(content, dict) else f"holds a {type(content).__name__}"
    assert expected in refused(path)


def test_a_rewritten_archive_still_reads(whole: dict[str, bytes], tmp_path: Path) -> None:
    assert read_or_refuse(rewritten(whole["zip"], tmp_path / "a.ckpt", lambda _, d: d)) is None


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_archives_are_refused(method: int, whole: dict[str, bytes], tmp_path: Path) -> None:
    """A bomb: 210 MB of zeros in a few hundred kilobytes."""
    bomb = bytes(210 * 1024**2 if method == zipfile.ZIP_DEFLATED else 1024**2)
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
    assert "more bytes than the file has" in refused(path)


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


def test_a_program_called_code_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "code.pt"
    torch.jit.script(torch.nn.ReLU()).save(str(path))  # type: ignore[union-attr]
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
