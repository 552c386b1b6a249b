"""A WebSocket client that receives text messages: enough to follow a ComfyUI server.

Source: RFC 6455. Plain `ws://` to a server on the same machine, no extensions; binary messages
(previews) are skipped and pings are answered.
"""

import base64
import hashlib
import os
import select
import socket
import struct

_ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x8, 0x9, 0xA


class WebSocketError(ConnectionError):
    """The server refused the connection or broke it off."""


class WebSocket:
    """One connection to `ws://host:port/path`; close it, or use it as a context manager.

    timeout: seconds that the server may take to answer, and between the parts of a message.
    """

    def __init__(self, host: str, port: int, path: str, timeout: float = 300.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._buffer = b""
        try:
            self._shake_hands(host, port, path)
        except BaseException:
            self._socket.close()
            raise

    def receive(self, timeout: float) -> str | None:
        """The next text message, or None when `timeout` seconds bring none.

        Raises WebSocketError when the server closes the connection.
        """
        parts: list[bytes] = []
        text = False
        while True:
            if not parts and not self._buffer and not self._readable(timeout):
                return None
            final, opcode, payload = self._read_frame()
            if opcode == _CLOSE:
                raise WebSocketError("the server closed the connection")
            if opcode == _PING:
                self._send_frame(_PONG, payload)
            if opcode >= _CLOSE:
                continue
            if opcode != _CONTINUATION:
                text = opcode == _TEXT
            parts.append(payload)
            if final:
                if text:
                    return b"".join(parts).decode()
                parts = []

    def close(self) -> None:
        """Drops the connection."""
        self._socket.close()

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shake_hands(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (h.partition(":") for h in lines)
        }
        accept = base64.b64encode(hashlib.sha1((key + _ACCEPT_GUID).encode()).digest()).decode()
        if " 101 " not in status or headers.get("sec-websocket-accept") != accept:
            raise WebSocketError(f"the server answered {status!r} instead of opening a WebSocket")

    def _readable(self, timeout: float) -> bool:
        return bool(select.select([self._socket], [], [], timeout)[0])

    def _fill(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise WebSocketError("the server closed the connection")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _read_frame(self) -> tuple[bool, int, bytes]:
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        return bool(first & 0x80), first & 0x0F, self._take(size)

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        # Control frames carry at most 125 bytes; a client must mask what it sends (RFC 6455 5.1).
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)
