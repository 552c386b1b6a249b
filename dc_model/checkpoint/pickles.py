"""The list of tensors in a pickle, read without running what the pickle asks for.

A pickle is a program. The few instructions and names that checkpoints of PyTorch 1.6 and later
consist of are known here, the rest is refused by name. The result holds texts, numbers, containers
and descriptions of tensors: nothing is imported, called or decoded. Source: Python's `pickletools`
for the instructions, `torch._utils` for the arguments of a tensor.
"""

import pickle
from collections.abc import Callable, Iterator
from math import prod
from typing import IO, Any, NamedTuple

import torch

from ..shown import shown
from .detect import CheckpointError

TO_SAFETENSORS = "convert its state dict to safetensors"

# The largest published listings have less than a megabyte. A byte may become a container.
MAX_PICKLE = 3 * 1024**2
MAX_DEPTH = 32
MAX_DIMENSIONS = 8
# Keys that are numbers count an optimizer's parameters.
MAX_KEY = 2**20


class Name(NamedTuple):
    """Something that a pickle names, "module name"."""

    text: str


class Storage(NamedTuple):
    """Where a tensor's bytes lie: the name of a record, the type and the number of elements."""

    key: str
    dtype: torch.dtype
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class TensorEntry(NamedTuple):
    """A tensor without its data. offset and stride: in elements of the storage."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class Inert:
    """Stands for a value that no checkpoint needs: a NumPy number, bytes, a set."""


class Ordered(dict[Any, Any]):
    """An OrderedDict, the one container with attributes (a state dict's versions)."""


STORAGES = {
    "torch.storage UntypedStorage": torch.uint8,
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
    "torch ComplexFloatStorage": torch.complex64,
    "torch ComplexDoubleStorage": torch.complex128,
}
# What trainers keep beside the tensors; protocol 2 writes bytes by `_codecs encode`.
INERT = {
    *("_codecs encode", "torch Size", "torch device"),
    *("collections Counter", "collections defaultdict", "builtins complex", "builtins set"),
    *(f"__builtin__ {name}" for name in ("complex", "dict", "float", "int", "list", "set")),
    *("numpy dtype", "numpy.dtypes Float64DType"),
    *("numpy.core.multiarray scalar", "numpy._core.multiarray scalar"),
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint ModelCheckpoint",
}


def refuse(found: str) -> CheckpointError:
    """The error for a pickle that holds `found`."""
    return CheckpointError(
        f"Its pickle holds {found}, which no checkpoint needs and which can run code or fill the "
        f"memory: {TO_SAFETENSORS} with the program that wrote it, or choose another file."
    )


def _tensor(
    storage: Storage, offset: int, shape: Any, stride: Any, *_rest: Any, dtype: Any = None
) -> TensorEntry:
    """Arguments as `torch._utils._rebuild_tensor_v2` takes them."""
    if not isinstance(storage, Storage) or len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("a tensor of impossible shape")
    if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *stride)):
        raise ValueError("a tensor of impossible sizes")
    entry = TensorEntry(storage, dtype or storage.dtype, offset, tuple(shape), tuple(stride))
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if prod(shape) and (last + 1) * entry.dtype.itemsize > storage.nbytes:
        raise ValueError("a tensor that reaches beyond its data")
    return entry


def _dtype(text: str) -> torch.dtype | None:
    """The type that "torch float16" and its like name."""
    module, _, name = text.partition(" ")
    found = getattr(torch, name, None) if module == "torch" else None
    return found if isinstance(found, torch.dtype) else None


def _typed_tensor(*arguments: Any) -> TensorEntry:
    """Of a type without a storage class, such as fp8."""
    dtype = _dtype(arguments[6].text)
    if dtype is None:
        raise ValueError("a tensor of an unknown type")
    return _tensor(*arguments[:4], dtype=dtype)


def _parameter(tensor: Any, *_rest: Any) -> TensorEntry:
    if not isinstance(tensor, TensorEntry):
        raise ValueError("a parameter that is not a tensor")
    return tensor


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _typed_tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "collections OrderedDict": lambda: Ordered(),
    **dict.fromkeys(INERT, lambda *_arguments: Inert()),
}
KNOWN_NAMES = {*STORAGES, *CALLS}


PLAIN = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.BINPERSID),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
    *(pickle.BINUNICODE, pickle.SHORT_BINSTRING, pickle.EMPTY_LIST, pickle.EMPTY_DICT),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
)


class _Instructions(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Any:
        raise refuse(f"the instruction {shown(bytes([code]))}")


class _Interpreter(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Python's own, with what could import, call, hash or change something replaced or left out."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    dispatch = _Instructions({code[0]: pickle._Unpickler.dispatch[code[0]] for code in PLAIN})  # type: ignore[attr-defined]

    def find_class(self, module: str, name: str) -> Name:
        found = f"{module} {name}"
        if found not in KNOWN_NAMES and _dtype(found) is None:
            raise refuse(shown(f"{module}.{name}"))
        return Name(found)

    def persistent_load(self, pid: Any) -> Storage:
        """A storage is saved as ("storage", class, key, device, elements)."""
        kind, storage, key, _device, size, *view = pid
        if kind != "storage" or type(key) is not str or type(size) is not int or size < 0:
            raise ValueError("a storage that PyTorch did not write")
        if any(part is not None for part in view):
            raise refuse("a view of a storage")
        return Storage(key, STORAGES[storage.text], size)

    def load_reduce(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, Name) or name.text not in CALLS:
            raise refuse(f"a call of {shown(getattr(name, 'text', type(name).__name__))}")
        self.stack.append(CALLS[name.text](*arguments))

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        self.stack.pop()
        if not isinstance(self.stack[-1], Ordered | Inert):
            raise refuse(f"attributes of a {type(self.stack[-1]).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    dispatch[pickle.APPENDS[0]] = load_appends

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Inert):
            raise ValueError("items of something that is not a list")

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Inert):
            raise ValueError("items of something without keys")
        for key, value in zip(items[::2], items[1::2], strict=True):
            number = type(key) is int and abs(key) <= MAX_KEY
            if not number and not isinstance(key, str | Name):
                raise refuse(f"a {type(key).__name__} as a key")
            if isinstance(target, dict):
                target[key] = value


def run(file: IO[bytes]) -> Any:
    """The content of the pickle at the file's position, tensors as `TensorEntry`.

    file: of `MAX_PICKLE` bytes at most. Raises CheckpointError for anything that no checkpoint
    needs, and what broken bytes make Python raise.
    """
    content = _Interpreter(file).load()
    for _ in tensors_in(content):
        pass
    return content


def tensors_in(content: Any) -> Iterator[TensorEntry]:
    """Every tensor of nested containers, which may contain themselves.

    Raises CheckpointError for more than `MAX_DEPTH` levels.
    """
    seen: set[int] = set()
    level = [content]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, TensorEntry):
                yield value
            elif isinstance(value, dict | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                below.extend(value.values() if isinstance(value, dict) else value)
        if not below:
            return
        level = below
    raise refuse(f"containers of more than {MAX_DEPTH} levels")
