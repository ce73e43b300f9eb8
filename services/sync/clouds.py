"""The drivers of this process: one per account, made when first asked for, closed at the end."""

import asyncio
import logging
from collections.abc import Callable

from drivers.base import Driver

LOG = logging.getLogger(__name__)


class Clouds:
    """Shares each account's driver between those who read from it."""

    def __init__(self, make: Callable[[str], Driver]) -> None:
        self._make = make
        self._made: dict[str, Driver] = {}

    def of(self, account: str) -> Callable[[], Driver]:
        """What gives the account's driver. A driver that cannot be made is tried again."""

        def driver() -> Driver:
            if account not in self._made:
                self._made[account] = self._make(account)
            return self._made[account]

        return driver

    async def keep(self) -> None:
        """Wait to be cancelled, then close them all."""
        try:
            await asyncio.Event().wait()
        finally:
            for driver in self._made.values():
                await driver.close()
