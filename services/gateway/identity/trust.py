"""Answers of the database that are believed for some seconds, asked for once however many wait."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeVar

from chassis.leases import Clock

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
_REMEMBERED = 10_000


class Trusted(Generic[KeyT, ValueT]):
    """What `ask` says, for `how_long`. None, its no, is not remembered."""

    def __init__(
        self, ask: Callable[[KeyT], Awaitable[ValueT | None]], clock: Clock, how_long: timedelta
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._how_long = how_long
        self._known: dict[KeyT, tuple[ValueT, datetime]] = {}
        self._asked: dict[KeyT, asyncio.Task[ValueT | None]] = {}

    async def get(self, key: KeyT) -> ValueT | None:
        """What is known of `key`, or what `ask` says now."""
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        self._known.pop(key, None)
        asking = self._asked.get(key)
        if asking is None:
            asking = self._asked[key] = asyncio.create_task(self._look(key))
            asking.add_done_callback(partial(self._looked, key))
        return await asyncio.shield(asking)

    def forget(self) -> None:
        """Ask anew for everything: something was changed here."""
        self._known.clear()
        self._asked.clear()

    def _looked(self, key: KeyT, task: asyncio.Task[ValueT | None]) -> None:
        if self._asked.get(key) is task:
            del self._asked[key]

    async def _look(self, key: KeyT) -> ValueT | None:
        found = await self._ask(key)
        # What was forgotten while it was asked for is not to be remembered.
        if found is not None and self._asked.get(key) is asyncio.current_task():
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = (found, self._clock() + self._how_long)
        return found
