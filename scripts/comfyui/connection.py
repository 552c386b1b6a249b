"""What needs aiohttp, which comes with ComfyUI: a server's events, and uploads.

Scripts that only list nodes never come here, so they run in any Python.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

Result = TypeVar("Result")


class DroppedConnectionError(ConnectionError):
    """The server refused the connection or broke it off."""


class EventStream:
    """The events of a ComfyUI server; close it, or use it as a context manager.

    url: `ws://host:port/ws?clientId=...`
    timeout: seconds that the server may take to accept. Raises DroppedConnectionError.
    """

    def __init__(self, url: str, timeout: float = 300.0) -> None:
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        try:
            self._run(asyncio.wait_for(self._open(url), timeout))
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            self.close()
            raise DroppedConnectionError(f"{url} opens no WebSocket ({error})") from error
        except BaseException:
            self.close()
            raise

    def receive(self, timeout: float) -> str | bytes | None:
        """The next event as JSON, a preview as bytes, or None when `timeout` seconds bring none.

        Raises DroppedConnectionError when the server closes the connection.
        """
        try:
            message = self._run(self._socket.receive(timeout=timeout))
        except asyncio.TimeoutError:
            return None
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return message.data
        raise DroppedConnectionError("the server closed the connection")

    def close(self) -> None:
        """Ends the connection."""
        if self._session is not None:
            self._run(self._session.close())
        self._loop.close()

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self, url: str) -> None:
        self._session = session = aiohttp.ClientSession()
        self._socket = await session.ws_connect(url, max_msg_size=0)

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(coroutine)


def upload(url: str, path: Path, name: str, timeout: float) -> tuple[int, bytes]:
    """Posts a picture to `/upload/image`, over one of the same name; the reply's status and body.

    Raises OSError when the server does not answer.
    """

    async def post() -> tuple[int, bytes]:
        limit = aiohttp.ClientTimeout(total=timeout)
        form = aiohttp.FormData({"overwrite": "true"}, quote_fields=False)
        form.add_field("image", path.read_bytes(), filename=name)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(url, data=form) as reply,
        ):
            return reply.status, await reply.read()

    try:
        return asyncio.run(post())
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise DroppedConnectionError(str(error) or type(error).__name__) from error
