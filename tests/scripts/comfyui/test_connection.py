"""Against a server of a few lines, in a thread of its own."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from comfyui.client import ComfyClient, ServerError
from comfyui.connection import DroppedConnectionError, EventStream

PATIENCE = 60.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], int]


@contextmanager
def served(handle: Handler) -> Iterator[int]:
    """Answers every request with `handle`; gives the port."""
    loop, started, ports = asyncio.new_event_loop(), threading.Event(), []

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
        started.set()
        return runner

    def work() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda handle: stack.enter_context(served(handle))


def test_events_and_previews_of_every_length(serve: Serve):
    messages = ["short", "l" * 70_000, b"preview" * 1_000_000, "ümläut"]
    asked = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        asked.append(request.query["clientId"])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for message in messages:
            if isinstance(message, str):
                await socket.send_str(message)
            else:
                await socket.send_bytes(message)
        await socket.receive()
        return socket

    with ComfyClient(port=serve(handle)).events("me") as events:
        assert [events.receive(PATIENCE) for _ in messages] == messages
    assert asked == ["me"]


def test_a_silence_is_none_and_loses_nothing(serve: Serve):
    goes_on = threading.Event()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await asyncio.to_thread(goes_on.wait, PATIENCE)
        await socket.send_str("after all")
        await socket.receive()
        return socket

    with EventStream(f"ws://127.0.0.1:{serve(handle)}/") as events:
        assert events.receive(0.05) is None
        goes_on.set()
        assert events.receive(PATIENCE) == "after all"


@pytest.mark.parametrize("politely", [True, False])
def test_the_end_is_an_error(serve: Serve, politely: bool):
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if politely:
            await socket.close()
        elif request.transport is not None:
            request.transport.abort()
        return socket

    with (
        EventStream(f"ws://127.0.0.1:{serve(handle)}/") as events,
        pytest.raises(DroppedConnectionError, match="closed the connection"),
    ):
        events.receive(PATIENCE)


async def plain(_: web.Request) -> web.Response:
    return web.Response(text="no socket", status=404)


def test_a_server_that_opens_no_socket(serve: Serve):
    with pytest.raises(DroppedConnectionError, match="opens no WebSocket"):
        EventStream(f"ws://127.0.0.1:{serve(plain)}/")


def test_nobody_there():
    with pytest.raises(DroppedConnectionError, match="opens no WebSocket"):
        EventStream("ws://127.0.0.1:9/")


class TestUpload:
    @pytest.fixture
    def picture(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.png"
        path.write_bytes(b"\r\n--pixels\x00" * 1000)
        return path

    @pytest.mark.parametrize("name", ["a.png", 'with "quotes" ü.png'])
    def test_the_file_arrives_as_it_is(self, serve: Serve, picture: Path, name: str):
        fields = {}

        async def handle(request: web.Request) -> web.Response:
            for key, value in (await request.post()).items():
                file = isinstance(value, web.FileField)
                fields[key] = (value.filename, value.file.read()) if file else value
            return web.json_response({"name": "b.png", "subfolder": "clips", "type": "input"})

        client = ComfyClient(port=serve(handle))
        assert client.upload_image(picture, name) == "clips/b.png"
        assert fields == {"image": (name, picture.read_bytes()), "overwrite": "true"}

    def test_what_the_server_refuses(self, serve: Serve, picture: Path):
        with pytest.raises(ServerError, match="/upload/image: HTTP status 404: no socket"):
            ComfyClient(port=serve(plain)).upload_image(picture)

    def test_a_server_that_does_not_answer(self, picture: Path):
        with pytest.raises(ServerError, match="the server does not answer"):
            ComfyClient(port=9).upload_image(picture)
