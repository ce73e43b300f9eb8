"""HTTP/1.1 as uvicorn speaks it, with an end to heads of requests that are too long or never come.

uvicorn's own collects a head of any length, and waits for it for as long as the connection lives.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST_HEAD = 64 * 1024
HEAD_SECONDS = 20.0
_ANSWER = b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Guarded(HttpToolsProtocol):
    """Answers 431 or 408 and hangs up; what comes whole and in time costs nothing more."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._in_head = True
        self._came = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head from now on."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._came += len(data)
        if self._came > MOST_HEAD:
            self._hang_up(b"431 Request Header Fields Too Large")
        elif self._patience is None:
            self._wait()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._came = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        self._wait_no_longer()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._hang_up(b"408 Request Timeout")

    def _hang_up(self, status: bytes) -> None:
        self._wait_no_longer()
        under_way = cast("RequestResponseCycle | None", self.cycle)
        if self._came and (under_way is None or under_way.response_complete):
            self.transport.write(_ANSWER % status)
        self.transport.close()
