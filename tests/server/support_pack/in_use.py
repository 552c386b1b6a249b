"""What the server's process holds, for a test that looks for leaks: asked for between prompts."""

import ctypes
import gc
from typing import Any

import torch
from aiohttp import web
from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]

_FIGURES = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _MallInfo2(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIGURES]


def heap_in_use() -> int | None:
    """Bytes that malloc has handed out and not got back; None where the C library cannot say.

    Free blocks inside the heap do not count, so fragmentation does not either.
    """
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return None
    ask.restype = _MallInfo2
    info = ask()
    return info.uordblks + info.hblkhd


def tensor_bytes() -> int:
    """Bytes of all storages of tensors that the garbage collector knows, each once."""
    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        # Lazy modules and proxies may do work, or fail, when they are asked for their class.
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def figures() -> dict[str, Any]:
    """What is in use after a full collection."""
    gc.collect()
    return {
        "heap": heap_in_use(),
        "tensors": tensor_bytes(),
        "objects": len(gc.get_objects()),
    }


def add_routes() -> None:
    """Serves `figures` at /test/in_use, and lets /test/onednn switch PyTorch's oneDNN."""
    routes = PromptServer.instance.routes

    @routes.get("/test/in_use")
    async def in_use(_: web.Request) -> web.Response:
        return web.json_response(figures())

    @routes.get("/test/onednn/{state}")
    async def onednn(request: web.Request) -> web.Response:
        torch.backends.mkldnn.enabled = request.match_info["state"] == "on"  # type: ignore[assignment]
        return web.json_response({})
