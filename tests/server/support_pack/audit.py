"""What the server starts and writes, as Python's audit events report it."""

import os
import sys
from typing import Any, ClassVar

from aiohttp import web
from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]

_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT


class _Ears:
    """What was heard since somebody first asked."""

    open = False
    heard: ClassVar[list[str]] = []


def _listen(event: str, args: tuple[Any, ...]) -> None:
    if not _Ears.open:
        return
    if event in _STARTS:
        _Ears.heard.append(f"{event} {args[0]}")
    elif event == "open" and isinstance(args[2], int) and args[2] & _WRITING:
        _Ears.heard.append(f"open {args[0]}")


async def _watch(_: web.Request) -> web.Response:
    """Begins to listen, or hands over what was heard since."""
    _Ears.open = True
    heard, _Ears.heard[:] = list(_Ears.heard), []
    return web.json_response(heard)


def listen() -> None:
    """Adds the hook, which cannot be taken away again, and the route that reads it."""
    sys.addaudithook(_listen)
    PromptServer.instance.routes.get("/test/audit")(_watch)
