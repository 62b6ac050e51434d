"""The pages that are open, and which of them may change things: the first one, until it is closed."""

import asyncio
import contextlib
import json
import secrets
import struct
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

WAITING_MASKS = 6
"""Messages with masks that may wait for a slow page; later ones are left out, and the page asks for what it shows."""


class Page:
    """One open page.

    Attributes:
        id: random; names the page in its requests.
    """

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(16)
        self._queue: asyncio.Queue[str | bytes] = asyncio.Queue()

    def put(self, message: str | bytes) -> None:
        """Queues a message; in the event loop only."""
        if isinstance(message, bytes) and self._queue.qsize() >= WAITING_MASKS:
            (length,) = struct.unpack(">I", message[:4])
            message = message[4 : 4 + length].decode()  # what is known of the frame, without its mask
        self._queue.put_nowait(message)

    async def send_all(self, socket: WebSocket) -> None:
        """Sends messages as they come, for ever."""
        while True:
            message = await self._queue.get()
            await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message))


class Pages:
    """All open pages; belongs to one event loop, into which `publish` hands messages from any thread."""

    def __init__(self) -> None:
        self._pages: list[Page] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, socket: WebSocket) -> None:
        """One page's WebSocket, from opening to closing."""
        await socket.accept()
        self._loop = asyncio.get_running_loop()
        page = Page()
        self._pages.append(page)
        page.put(json.dumps({"type": "hello", "page": page.id, "writer": self.is_writer(page.id)}))
        sending = asyncio.create_task(page.send_all(socket))
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            pass
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sending
            was_writer = self.is_writer(page.id)
            self._pages.remove(page)
            if was_writer and self._pages:
                self._pages[0].put(json.dumps({"type": "writer"}))

    def is_writer(self, id: str) -> bool:
        """Whether this page may change things."""
        return bool(self._pages) and self._pages[0].id == id

    def publish(self, message: dict[str, Any], data: bytes | None = None) -> None:
        """Sends to all pages, from any thread; returns at once.

        Args:
            message: JSON.
            data: bytes that go with it, as one binary message: the JSON's length (32 bits, big-endian), the JSON, data.
        """
        text = json.dumps(message)
        packed: str | bytes = text
        if data is not None:
            encoded = text.encode()
            packed = struct.pack(">I", len(encoded)) + encoded + data

        def put() -> None:
            for page in self._pages:
                page.put(packed)

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there
                self._loop.call_soon_threadsafe(put)
