"""The reading half of a websocket (RFC 6455), as much of it as ComfyUI's event stream needs."""

import base64
import json
import os
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class EventSocket:
    """Events of a ComfyUI server for one client id; previews and other binary messages are dropped."""

    def __init__(self, url: str, client_id: str, timeout: float) -> None:
        """Connects to the server at `url`; OSError where there is no server or no websocket."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        self._socket = socket.create_connection((parts.hostname, port), timeout)
        if secure:
            context = ssl.create_default_context()
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._buffer = bytearray()
        self._message: bytearray | None = None  # the text message that frames are being joined to
        try:
            self._shake_hands(f"{parts.path.rstrip('/')}/ws?clientId={client_id}", parts.netloc)
        except OSError:
            self.close()
            raise

    def _shake_hands(self, target: str, netloc: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", f"Host: {netloc}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].split()
        if len(status) < 2 or status[1] != b"101":
            raise ConnectionError(f"no websocket at {netloc}{target}: {head[:80]!r}")
        self._buffer = bytearray(rest)

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next event, {"type", "data"}, or None where none came within `timeout` seconds.

        OSError where the connection is lost.
        """
        deadline = time.monotonic() + timeout
        while True:
            while (frame := self._take_frame()) is not None:
                text = self._join(*frame)
                if text is not None:
                    return json.loads(text)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                self._fill()
            except TimeoutError:
                return None

    def close(self) -> None:
        self._socket.close()

    def _fill(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the websocket")
        self._buffer += data

    def _take_frame(self) -> tuple[bool, int, bytes] | None:
        """(last of its message, opcode, payload) once a whole frame is there; a server never masks."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        extra = {126: 2, 127: 8}.get(buffer[1] & 127, 0)
        start = 2 + extra
        size = int.from_bytes(buffer[2:start], "big") if extra else buffer[1] & 127
        if len(buffer) < start + size:
            return None
        last, opcode, payload = bool(buffer[0] & 128), buffer[0] & 15, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return last, opcode, payload

    def _join(self, last: bool, opcode: int, payload: bytes) -> bytearray | None:
        """The whole text message that this frame ends, if it ends one."""
        if opcode == CLOSE:
            raise ConnectionError("the server closed the websocket")
        if opcode == PING:
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
            self._socket.sendall(bytes([128 | PONG, 128 | len(payload)]) + mask + masked)
        if opcode >= CLOSE:
            return None  # control frames may come between the frames of a message
        if opcode != 0:
            self._message = bytearray() if opcode == TEXT else None
        if self._message is None:
            return None
        self._message += payload
        return self._message if last else None
