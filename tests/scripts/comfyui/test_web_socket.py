import base64
import hashlib
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from comfyui.web_socket import WebSocket, WebSocketError

Serve = Callable[[socket.socket], None]
# Seconds that a busy machine may take for what is done at once on an idle one.
PATIENCE = 120.0
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes([size])
    elif size < 1 << 16:
        head = b"\x7e" + struct.pack(">H", size)
    else:
        head = b"\x7f" + struct.pack(">Q", size)
    return bytes([opcode | (0x80 if final else 0)]) + head + payload


def answer(connection: socket.socket, key_suffix: str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"):
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    lines = request.decode().split("\r\n")
    key = next(line.split(": ")[1] for line in lines if line.startswith("Sec-WebSocket-Key"))
    accept = base64.b64encode(hashlib.sha1((key + key_suffix).encode()).digest()).decode()
    connection.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    return lines[0]


@pytest.fixture
def serve() -> Iterator[Callable[[Serve], int]]:
    """Runs a server for one connection in a thread; returns its port."""
    threads = []

    def start(handle: Serve) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def work() -> None:
            with listener:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    handle(connection)

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return listener.getsockname()[1]

    yield start
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_receives_text_of_every_length(serve: Callable[[Serve], int]):
    texts = ["short", "m" * 300, "l" * 70000, "ümläut"]
    requests = []

    def handle(connection: socket.socket) -> None:
        requests.append(answer(connection))
        for text in texts:
            connection.sendall(frame(TEXT, text.encode()))

    with WebSocket("127.0.0.1", serve(handle), "/ws?clientId=me") as client:
        assert [client.receive(PATIENCE) for _ in texts] == texts
    assert requests == ["GET /ws?clientId=me HTTP/1.1"]


def test_joins_fragments_skips_previews_and_answers_pings(serve: Callable[[Serve], int]):
    pongs: queue.Queue[bytes] = queue.Queue()

    def handle(connection: socket.socket) -> None:
        answer(connection)
        connection.sendall(frame(BINARY, b"preview"))
        connection.sendall(frame(TEXT, b"one, ", final=False) + frame(PING, b"there?"))
        connection.sendall(frame(CONTINUATION, b"two"))
        with connection.makefile("rb") as stream:
            pongs.put(stream.read(2 + 4 + len(b"there?")))

    with WebSocket("127.0.0.1", serve(handle), "/") as client:
        assert client.receive(PATIENCE) == "one, two"
        # The server's thread may read the pong after the message's last fragment was received here.
        pong = pongs.get(timeout=PATIENCE)
    head, mask, masked = pong[:2], pong[2:6], pong[6:]
    assert head == bytes([0x80 | PONG, 0x80 | 6])
    assert bytes(b ^ mask[i % 4] for i, b in enumerate(masked)) == b"there?"


def test_none_when_nothing_comes(serve: Callable[[Serve], int]):
    done = threading.Event()

    def handle(connection: socket.socket) -> None:
        answer(connection)
        done.wait(PATIENCE)

    with WebSocket("127.0.0.1", serve(handle), "/") as client:
        assert client.receive(0.05) is None
        done.set()


@pytest.mark.parametrize("last", [frame(CLOSE, b""), b""], ids=["closed", "cut off"])
def test_the_end_is_an_error(serve: Callable[[Serve], int], last: bytes):
    def handle(connection: socket.socket) -> None:
        answer(connection)
        connection.sendall(last)

    with (
        WebSocket("127.0.0.1", serve(handle), "/") as client,
        pytest.raises(WebSocketError, match="closed the connection"),
    ):
        client.receive(PATIENCE)


def test_a_server_that_is_no_web_socket(serve: Callable[[Serve], int]):
    def wrong_key(connection: socket.socket) -> None:
        answer(connection, "another protocol")

    def plain(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:  # what is left unread would reset the connection
            request += connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    for handle in (wrong_key, plain):
        with pytest.raises(WebSocketError, match="instead of opening a WebSocket"):
            WebSocket("127.0.0.1", serve(handle), "/")
