"""Blocking calls for asyncio, in daemon threads: one that hangs does not keep the process alive."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")
IDLE_SECONDS = 10.0
"""How long a thread waits for its next call before it ends."""


async def in_thread(call: Callable[[], T]) -> T:
    """The call's result or exception. Cancelled, it returns at once and the thread is abandoned.

    What the call was doing may take effect all the same. Context variables are handed on.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType] - T may be None itself

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - handed to who awaits
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop has ended meanwhile: nobody waits any more
            return

    context = copy_context()
    _CREW.take(lambda: context.run(run))
    return await future


class Crew:
    """Threads that rest between calls: to start one costs the loop a wait for it to run.

    As many as there are calls at a time; a call that hangs holds up no other.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._resting = Semaphore(0)

    def take(self, call: Callable[[], None]) -> None:
        """Have one that rests make the call, or a new one."""
        rested = self._resting.acquire(blocking=False)
        self._calls.put(call)
        if not rested:
            Thread(target=self._work, name="cloud call", daemon=True).start()

    def _work(self) -> None:
        """Make calls until none came for a while, and none was promised to this thread."""
        while True:
            try:
                call = self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._resting.acquire(blocking=False):
                    return
                continue
            call()
            del call  # it holds its caller's context
            self._resting.release()


_CREW = Crew()
