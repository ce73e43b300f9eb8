"""Blocking calls beside the loop."""

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from drivers.threads import Crew, in_thread

HANGS = """
import asyncio, threading
from drivers.threads import in_thread

async def main():
    task = asyncio.create_task(in_thread(threading.Event().wait))
    await asyncio.sleep(0.05)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")

asyncio.run(main())
"""


async def test_results_and_exceptions_come_back_and_context_goes_along() -> None:
    where: ContextVar[str] = ContextVar("where")
    where.set("here")
    assert await in_thread(where.get) == "here"
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)


async def test_a_cancelled_call_is_left_at_once_and_ends_in_peace() -> None:
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        end.wait()
        ended.set()

    task = asyncio.create_task(in_thread(hang))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    end.set()
    while not ended.is_set():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)  # its result, which nobody wants, is not an error


def test_a_process_ends_though_a_call_still_hangs() -> None:
    ended = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "cancelled\n"


async def test_a_thread_makes_one_call_after_the_other_and_a_call_that_hangs_holds_up_none() -> (
    None
):
    end = threading.Event()
    hanging = [asyncio.create_task(in_thread(end.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    made_by = {await in_thread(threading.get_ident) for _ in range(20)}
    assert len(made_by) < 20
    end.set()
    assert await asyncio.gather(*hanging) == [True] * 3


async def test_a_thread_that_nobody_needs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.threads.IDLE_SECONDS", 0.01)
    crew = Crew()
    made: list[threading.Thread] = []
    crew.take(lambda: made.append(threading.current_thread()))
    async with asyncio.timeout(30):
        while not made or made[0].is_alive():
            await asyncio.sleep(0.005)
    crew.take(lambda: made.append(threading.current_thread()))
    async with asyncio.timeout(30):
        while len(made) < 2:
            await asyncio.sleep(0.005)
