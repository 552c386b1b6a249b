"""Loads TorchScript files after a look at their code.

A TorchScript file is a program: its code runs while it loads and when it is called. It cannot call
Python, but PyTorch's operators include some that write files, and other packages add more. So a
file is read as what it is, a zip archive of source text and tensors, and refused when it names
anything but PyTorch's own tensor operators. What is loaded is a copy made of the members that were
looked at: no other reading of the archive, and no change of the file meanwhile, brings in other
code. Memory and time that it takes are not bounded by this, nor errors inside an operator: only
files of a known origin should be used.
"""

import ast
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from ..checkpoint.errors import CheckpointError, naming, readable
from ..checkpoint.inspect import open_file
from ..checkpoint.torch_file import record_places
from ..device import usable_device
from ..shown import shown

MAX_FILE = 4 * 2**30
MAX_SOURCE = 16 * 2**20
# Namespaces of operators that only compute; `torch.` in the source is PyTorch's own.
NAMESPACES = {"aten", "prim"}
# Operators that reach files, native classes, other processes, Python, or what the whole program
# shares (random numbers, gradients, caches, statistics), and ways around their names.
FORBIDDEN = {
    *("save", "load", "from_file", "classes", "setattr", "hasattr", "__import__"),
    *("rpc_async", "rpc_sync", "rpc_remote", "PythonOp", "IgnoredPythonOp"),
    *("manual_seed", "seed", "AddStatValue"),
    *("_cufft_set_plan_cache_max_size", "_cufft_clear_plan_cache"),
}


class ScriptError(CheckpointError):
    """A TorchScript file that is damaged or refused; the message says why."""


def load_script(path: Path, device: torch.device | str) -> Any:
    """The module in a file, in eval mode on `device`. Raises ScriptError, before its code runs when
    the code is refused, and DeviceError for a device that is not there."""
    place = usable_device(device)
    # A folder of this user alone; the loader has nothing open in it once it returns.
    with scripted(path), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = os.path.join(folder, "script.pt")
        with open_file(path) as file, _opened(file) as archive:
            _copy(archive, copy)
        # What is looked at is the copy: the file may change at any time.
        with zipfile.ZipFile(copy) as archive:
            _require_allowed(archive)
        try:
            return torch.jit.load(copy, map_location=place).eval()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ScriptError(
                f"It cannot be loaded ({shown(last_line(error))}); download it again."
            ) from error


@contextmanager
def scripted(path: Path) -> Iterator[None]:
    """Any failure of reading a file inside becomes a ScriptError that names it."""
    try:
        with naming(path), readable():
            yield
    except CheckpointError as error:
        raise ScriptError(str(error)) from error


def inspect_script(path: Path) -> None:
    """ScriptError unless the file is a TorchScript archive of allowed operators and sizes."""
    with scripted(path), open_file(path) as file, _opened(file) as archive:
        _require_allowed(archive)


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The archive in a file. ScriptError unless it has the members and sizes of a TorchScript."""
    if not zipfile.is_zipfile(file):
        raise ScriptError(
            "It is not a TorchScript file; choose what torch.jit.save wrote, such as "
            "i3d_torchscript.pt."
        )
    # There is one way to take the archive.
    record_places(file, os.fstat(file.fileno()).st_size, packed=True)
    with zipfile.ZipFile(file) as archive:
        _require_sound(archive.infolist())
        yield archive


def _copy(archive: zipfile.ZipFile, target: str) -> None:
    """Writes an archive's members to another, unpacked and in their order."""
    with zipfile.ZipFile(target, "w") as copy:
        for member in archive.infolist():
            same = zipfile.ZipInfo(member.filename)
            same.file_size = member.file_size  # decides on numbers of 64 bits
            with archive.open(member) as source, copy.open(same, "w") as place:
                shutil.copyfileobj(source, place)


def _require_allowed(archive: zipfile.ZipFile) -> None:
    _require_plain_objects(archive)
    for source in _read_sources(archive):
        for name in _refused_names(source):
            raise ScriptError(
                f"It uses '{shown(name)}', which can reach beyond its own tensors, and was "
                "not loaded; use a file whose origin you know."
            )


def last_line(error: BaseException) -> str:
    """The last line of a message: TorchScript puts a traceback of its own before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("RuntimeError: ").rstrip(".") if lines else type(error).__name__


def _require_sound(members: list[zipfile.ZipInfo]) -> None:
    size = sum(member.file_size for member in members)
    if size > MAX_FILE:
        raise ScriptError(
            f"It unpacks to {size / 2**30:.1f} GB, more than the {MAX_FILE >> 30} GB that are "
            "read; choose a smaller network."
        )
    inside = {member.filename.casefold().partition("/")[2] for member in members}
    if "constants.pkl" not in inside or not any(name.startswith("code/") for name in inside):
        raise ScriptError(
            "It is an archive without TorchScript code, probably a checkpoint; choose what "
            "torch.jit.save wrote, such as i3d_torchscript.pt."
        )
    read = sum(m.file_size for m in members if m.filename.casefold().endswith((".py", ".pkl")))
    if read > MAX_SOURCE:
        raise ScriptError(f"It has more code than {MAX_SOURCE >> 20} MB; choose a smaller network.")


def _require_plain_objects(archive: zipfile.ZipFile) -> None:
    """ScriptError when the pickled objects are of native classes, which run code of their own."""
    for member in archive.infolist():
        name = member.filename.casefold()
        if name.endswith(".pkl") and b"torch.classes" in archive.read(member):
            raise ScriptError(
                "It holds objects of native classes and was not loaded; use a network of plain "
                "tensors, not a quantised one."
            )


def _read_sources(archive: zipfile.ZipFile) -> list[str]:
    # The loader ignores the case of names.
    members = [m for m in archive.infolist() if m.filename.casefold().endswith(".py")]
    return [archive.read(member).decode("utf-8", "replace") for member in members]


def _refused_names(source: str) -> Iterator[str]:
    """Names in TorchScript's source, whose syntax is Python's, that are not allowed."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ScriptError("It has code that cannot be read; download it again.") from error
    spaces = [n for n in nodes if isinstance(n, ast.Attribute) and _is_name(n.value, "ops")]
    yield from (f"ops.{node.attr}" for node in spaces if node.attr not in NAMESPACES)
    # By another way than `ops.namespace`, the namespace would stay unseen.
    if sum(_is_name(node, "ops") for node in nodes) != len(spaces):
        yield "ops"
    # Submodules with a number for a name are written getattr(self, "0").
    looked_up = [_constant_lookup(node) for node in nodes]
    if sum(_is_name(node, "getattr") for node in nodes) != sum(map(bool, looked_up)):
        yield "getattr"
    for node, looked in zip(nodes, looked_up, strict=True):
        name = looked or getattr(node, "id", None) or getattr(node, "attr", None)
        if name in FORBIDDEN:
            yield str(name)


def _constant_lookup(node: ast.AST) -> str:
    """What `getattr(x, "name")` looks up, "" for anything else."""
    if isinstance(node, ast.Call) and _is_name(node.func, "getattr") and len(node.args) == 2:
        name = node.args[1]
        return str(name.value) if isinstance(name, ast.Constant) else ""
    return ""


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
