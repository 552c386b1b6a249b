"""What a pickle of PyTorch holds, read without running what it asks for.

A pickle is a program. The few instructions and names that checkpoints consist of are known here,
the rest is refused by name. Nothing is imported. Source: Python's `pickletools` for the
instructions, `torch._utils` for the arguments of a tensor.
"""

import pickle
import struct
from collections.abc import Callable
from math import prod
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ..shown import shown
from .errors import TO_SAFETENSORS, CheckpointError, require_genuine

# The largest published listings have less than a megabyte. A byte may become a container.
MAX_PICKLE = 3 * 1024**2
MAX_DEPTH, MAX_DIMENSIONS = 32, 8
# A tensor's call has 8; a file may ask for many calls with the same million, each a copy.
MAX_ARGUMENTS = 16
# Tensors' bytes over the file's: weights may be there under two names.
MAX_SHARING = 2

ELEMENTS = (
    *(("Double", torch.float64), ("Float", torch.float32), ("Half", torch.float16)),
    *(("BFloat16", torch.bfloat16), ("Long", torch.int64), ("Int", torch.int32)),
    *(("Short", torch.int16), ("Char", torch.int8), ("Byte", torch.uint8), ("Bool", torch.bool)),
    *(("ComplexFloat", torch.complex64), ("ComplexDouble", torch.complex128)),
)
# What trainers keep beside the tensors; protocol 2 writes bytes by `_codecs encode`.
OBJECTS = (
    *("torch Size", "torch device"),
    *("collections Counter", "collections defaultdict", "builtins complex", "builtins set"),
    *("builtins frozenset", "__builtin__ frozenset", "__builtin__ bytes"),
    *(f"__builtin__ {name}" for name in ("complex", "dict", "float", "int", "list", "set")),
    "numpy.dtypes Float64DType",
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint ModelCheckpoint",
)
# What else PyTorch writes for honest content, and is not read here.
UNREAD = {
    "torch._tensor _rebuild_from_type_v2": "a tensor with attributes or of a class of its own",
}
# What NumPy states of `float64`: a type's arguments and state, little-endian.
DOUBLE = ["f8", False, True, (3, "<", None, None, None, -1, -1, 0)]
# Instructions that only put values on the stack, or take them from there.
PLAIN = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.BINPERSID, pickle.NONE),
    *(pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINSTRING),
    *(pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1),
    *(pickle.TUPLE2, pickle.TUPLE3, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET),
    pickle.LONG_BINGET,
)
# A storage's name, elements and bytes of an element -> its bytes, `[N]` uint8.
FindStorage = Callable[[str, int, int], Tensor]


class Storage(NamedTuple):
    """What tensors are cut from: `[N]`, of its elements' type."""

    data: Tensor


class Bag(dict[Any, Any]):
    """Stands for an object: the items that it is given. An ordered dictionary is just that."""


class NumberType(Bag):
    """A type of NumPy's numbers: what the file states of it."""

    def __init__(self, *stated: Any):
        super().__init__()
        self.stated = [*stated]


def read_pickle(file: IO[bytes], find_storage: FindStorage, size: int) -> Any:
    """The content of the pickle at the file's position: texts, numbers, containers, tensors.

    file: of `MAX_PICKLE` bytes at most. find_storage: called once for each storage. size: of the
    whole file. Raises CheckpointError, or what broken bytes make Python raise.
    """
    content = _Reader(file, find_storage, size).load()
    level, seen = [content], set[int]()
    for _ in range(MAX_DEPTH):
        new = {id(v): v for v in level if isinstance(v, dict | list | tuple) and id(v) not in seen}
        seen |= new.keys()
        level = [item for v in new.values() for item in (v.values() if isinstance(v, dict) else v)]
    allow(not level, f"containers of more than {MAX_DEPTH} levels")
    return content


def allow(known: bool, found: str) -> None:
    """CheckpointError unless what was `found` in a pickle is known."""
    if not known:
        raise CheckpointError(
            f"Its pickle holds {found}, which no checkpoint needs and which can run code or fill "
            f"the memory: {TO_SAFETENSORS} with the program that wrote it, or choose another file."
        )


def require_read(known: bool, found: str) -> None:
    """CheckpointError unless what was `found` in a pickle is read: others may well be harmless."""
    if not known:
        raise CheckpointError(
            f"Its pickle holds {found}, which is not read here: {TO_SAFETENSORS} with the program "
            "that wrote it, or choose another file."
        )


def require_short(length: int) -> None:
    """CheckpointError for a pickle of more than `MAX_PICKLE` bytes."""
    if length > MAX_PICKLE:
        raise CheckpointError(
            "What it holds beside its tensors, such as a trainer's lists, takes more than the "
            f"{MAX_PICKLE >> 20} MB that are read: {TO_SAFETENSORS} with the program that wrote it."
        )


class _Instructions(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Any:
        allow(False, f"the instruction {shown(bytes([code]))}")


class _Reader(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Python's own, with what could import, call, hash or change something replaced or left out."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: IO[bytes], find_storage: FindStorage, size: int):
        super().__init__(file)
        self.find_storage, self.storages = find_storage, dict[str, Tensor]()
        self.storages_left, self.tensors_left = size, MAX_SHARING * size
        self.known = {
            **dict.fromkeys(OBJECTS, lambda *_arguments: Bag()),
            "collections OrderedDict": lambda: Bag(),
            "_codecs encode": _encoded,
            "numpy dtype": NumberType,
            "numpy.core.multiarray scalar": _number,
            "numpy._core.multiarray scalar": _number,
            **{f"torch {k}": v for k, v in vars(torch).items() if isinstance(v, torch.dtype)},
            **{f"torch {name}Storage": dtype for name, dtype in ELEMENTS},
            "torch.storage UntypedStorage": torch.uint8,
            "torch._utils _rebuild_tensor": self.tensor,
            "torch._utils _rebuild_tensor_v2": self.tensor,
            # Of a type without a storage class, such as fp8.
            "torch._utils _rebuild_tensor_v3": lambda *a: self.tensor(*a[:4], dtype=a[6]),
            "torch._utils _rebuild_parameter": lambda tensor, *_rest: tensor,
            "torch._utils _rebuild_parameter_with_state": lambda tensor, *_rest: tensor,
        }

    def find_class(self, module: str, name: str) -> Any:
        unread = UNREAD.get(f"{module} {name}")
        require_read(unread is None, f"{unread} ({shown(f'{module}.{name}')})")
        allow(f"{module} {name}" in self.known, shown(f"{module}.{name}"))
        return self.known[f"{module} {name}"]

    def persistent_load(self, pid: Any) -> Storage:
        """A storage is saved as ("storage", class, name, device, elements)."""
        kind, dtype, name, _device, size, *view = list(pid) if type(pid) is tuple else []
        written = (kind, type(dtype), type(name), type(size)) == ("storage", torch.dtype, str, int)
        require_genuine(written and size >= 0 and not any(view), "a storage of another kind")
        if name not in self.storages:
            self.storages_left -= size * dtype.itemsize
            require_genuine(self.storages_left >= 0, "storages of more bytes than the file has")
            self.storages[name] = self.find_storage(name, size, dtype.itemsize)
        return Storage(self.storages[name].view(dtype))

    def tensor(
        self, storage: Storage, offset: int, shape: Any, stride: Any, *_rest: Any, dtype: Any = None
    ) -> Tensor:
        """Arguments as `torch._utils._rebuild_tensor_v2` takes them."""
        sizes = all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *stride))
        fits = isinstance(storage, Storage) and sizes and len(shape) <= MAX_DIMENSIONS
        require_genuine(fits, "a tensor of impossible shape")
        data = storage.data.view(dtype or storage.data.dtype)
        self.tensors_left -= prod(shape) * data.itemsize
        require_genuine(self.tensors_left >= 0, "tensors of more bytes than the file has")
        return data.as_strided(shape, stride, offset)  # which refuses what lies beyond the data

    def load_reduce(self) -> None:
        arguments, call = self.stack.pop(), self.stack.pop()
        fits = callable(call) and type(arguments) is tuple
        allow(fits, f"a call of a {type(call).__name__}")
        require_genuine(len(arguments) <= MAX_ARGUMENTS, f"a call with {len(arguments)} arguments")
        self.stack.append(call(*arguments))

    def load_build(self) -> None:
        state = self.stack.pop()
        found = self.stack[-1]
        allow(isinstance(found, Bag), f"attributes of a {type(found).__name__}")
        if isinstance(found, NumberType):
            found.stated.append(state)

    def extend(self, items: list[Any]) -> None:
        require_genuine(type(self.stack[-1]) is list, "items of something that is not a list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        require_genuine(isinstance(self.stack[-1], dict), "items of something without keys")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_safe_key(key)] = value

    dispatch = _Instructions(
        {
            **{code[0]: pickle._Unpickler.dispatch[code[0]] for code in PLAIN},  # type: ignore[attr-defined]
            pickle.REDUCE[0]: load_reduce,
            pickle.BUILD[0]: load_build,
            pickle.APPEND[0]: lambda self: self.extend([self.stack.pop()]),
            pickle.APPENDS[0]: lambda self: self.extend(self.pop_mark()),
            pickle.SETITEM[0]: lambda self: self.update([self.stack.pop(-2), self.stack.pop()]),
            pickle.SETITEMS[0]: lambda self: self.update(self.pop_mark()),
        }
    )


def _encoded(text: Any, codec: Any = None) -> Any:
    """Bytes as protocol 2 writes them, if they may be a number; an empty object for any other.

    A file may ask for the bytes of one long text many times.
    """
    plain = type(text) is str and len(text) == 8 and codec == "latin1"
    return text.encode("latin1") if plain else Bag()


def _number(kind: Any, data: Any = None, *_rest: Any) -> Any:
    """A `float64` of NumPy as Python's number; an empty object for one of another type."""
    double = isinstance(kind, NumberType) and kind.stated == DOUBLE
    fits = double and type(data) is bytes and len(data) == 8
    return struct.unpack("<d", data)[0] if fits else Bag()


def _safe_key(key: Any) -> Any:
    """A key whose hash a file cannot choose. Raises CheckpointError for one that is not read.

    Numbers hash to themselves: a file could hold those that all want one place of a dictionary, of
    which each takes more steps than the one before. Texts and bytes hash by a process's secret.
    """
    # Classes are keys of a trainer's callbacks.
    if isinstance(key, str) or callable(key):
        return key
    simple = key is None or type(key) in (int, float, bool)
    kind = "object" if isinstance(key, Bag) else type(key).__name__
    require_read(simple, f"a key that is neither text nor number (of type {kind})")
    # An optimizer counts its parameters so; nobody looks for such a key.
    return repr(key).encode()
