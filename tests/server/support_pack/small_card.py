"""A pretended accelerator for servers without one: a second device with a memory of its own.

Its tensors hold their numbers on the CPU but lie on a device of PyTorch that has no kernels, so
that an operation on tensors of both devices fails as it does on a graphics card. What lies on it is
counted, and the host learns how much is free: it then loads, streams, patches and unloads weights
as for a card of that size, with the very numbers of the CPU.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import comfy.model_management
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# It has a name and needs no driver; nobody computes on it unless a backend is installed.
DEVICE = torch.device("lazy", 0)
CPU = torch.device("cpu")

_ATEN = torch.ops.aten
# Operations that may bring values from one device to another.
_TRANSFERS = {_ATEN._to_copy, _ATEN.copy_, _ATEN.to, _ATEN.type_as}
# Their indices may lie on the CPU, as with CUDA.
_INDEXING = {_ATEN.index, _ATEN.index_put_, _ATEN.index_put}


class CardTensor(Tensor):
    """A tensor on the card; `numbers` are its values, on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "CardTensor":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        made.numbers = values
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _OnEveryTensor(TorchDispatchMode):
    """Makes the card known to operations that name it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _FromPython(TorchFunctionMode):
    """Brings Python's numbers to the card by way of the CPU; PyTorch would ask for a kernel."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None:
            return func(*args, **{**kwargs, "device": CPU}).to(device)
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            return args[0][torch.tensor(args[1])]
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the device of its tensors or on the one that it names."""
    if func is _ATEN._has_compatible_shallow_copy_type.default:
        return False  # so that a module that moves gets new parameters, as with CUDA
    tensors: list[Tensor] = []
    named: list[torch.device] = []

    def plain(thing: Any) -> Any:
        if isinstance(thing, torch.device):
            named.append(thing)
            return CPU if thing == DEVICE else thing
        if isinstance(thing, Tensor):
            tensors.append(thing)
        return thing.numbers if isinstance(thing, CardTensor) else thing

    args, kwargs = _map(plain, args), _map(plain, kwargs)
    from_card = any(isinstance(x, CardTensor) for x in tensors)
    kind = func.overloadpacket
    if from_card and kind not in _TRANSFERS and kind not in _INDEXING:
        _require_one_device(func, tensors)
    to_card = named[0] == DEVICE if named else isinstance(tensors[0], CardTensor)
    copies = kind in _TRANSFERS and from_card != to_card
    wrappers = {id(x.numbers): x for x in tensors if isinstance(x, CardTensor)}

    def place(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        if copies and (id(result) in wrappers or any(result is x for x in tensors)):
            result = result.clone()  # the CPU alone had nothing to copy
        if not to_card:
            return result
        return wrappers[id(result)] if id(result) in wrappers else _on_card(result)

    return _map(place, func(*args, **kwargs))


def _map(function: Callable[[Any], Any], thing: Any) -> Any:
    """`function` of everything inside; torch's own walk takes longer than the operations."""
    if isinstance(thing, tuple | list):
        return type(thing)([_map(function, x) for x in thing])
    if isinstance(thing, dict):
        return {key: _map(function, x) for key, x in thing.items()}
    return function(thing)


def _require_one_device(func: Any, tensors: list[Tensor]) -> None:
    # A single number may lie on the CPU, as with CUDA.
    strays = [tuple(x.shape) for x in tensors if not isinstance(x, CardTensor) and x.ndim > 0]
    if strays:
        raise RuntimeError(f"{func}: tensors {strays} lie on the CPU, others on the card")


_plugged_in: "list[Card]" = []


def _on_card(values: Tensor) -> CardTensor:
    for card in _plugged_in:
        card.count(values)
    return CardTensor(values)


class Card:
    """A card with `size` bytes of memory; `used` and `peak` bytes lie or lay on it."""

    def __init__(self, size: int):
        self.size, self.used, self.peak = size, 0, 0
        self._known: set[int] = set()

    def count(self, values: Tensor) -> None:
        """Adds the storage of a new tensor."""
        storage = values.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.used += size
        self.peak = max(self.peak, self.used)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.used -= size

    @contextlib.contextmanager
    def plugged_in(self) -> Iterator["Card"]:
        """The host sees the card; at the end it unloads all models from it."""
        management = comfy.model_management
        others_free, others_total = management.get_free_memory, management.get_total_memory

        def free(dev: Any = None, torch_free_too: bool = False) -> Any:
            if dev != DEVICE:
                return others_free(dev, torch_free_too)
            left = max(0, self.size - self.used)
            return (left, 0) if torch_free_too else left

        def total(dev: Any = None, torch_total_too: bool = False) -> Any:
            if dev != DEVICE:
                return others_total(dev, torch_total_too)
            return (self.size, self.size) if torch_total_too else self.size

        normal = management.VRAMState.NORMAL_VRAM  # a server for the CPU never loads partially
        with (
            mock.patch.object(management, "get_free_memory", free),
            mock.patch.object(management, "get_total_memory", total),
            mock.patch.object(management, "vram_state", normal),
            _FromPython(),
            _OnEveryTensor(),
        ):
            _plugged_in.append(self)
            try:
                yield self
            finally:
                management.free_memory(1e30, DEVICE)
                _plugged_in.remove(self)
