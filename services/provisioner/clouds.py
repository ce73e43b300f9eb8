"""The drivers of this process: one per account, made when it is first needed."""

import asyncio
from collections.abc import Callable

from drivers.base import Driver


class Clouds:
    """Called with an account it gives its driver."""

    def __init__(self, make: Callable[[str], Driver]) -> None:
        self._make = make
        self._drivers: dict[str, Driver] = {}

    def __call__(self, account: str) -> Driver:
        """The account's driver."""
        if account not in self._drivers:
            self._drivers[account] = self._make(account)
        return self._drivers[account]

    async def status(self) -> str:
        """The accounts that answer; ConnectionError names those that do not."""
        drivers = dict(self._drivers)
        answers = await asyncio.gather(*(_answer(driver) for driver in drivers.values()))
        silent = [f"{name}: {no}" for name, no in zip(drivers, answers, strict=True) if no]
        if silent:
            raise ConnectionError("; ".join(silent))
        return ", ".join(drivers) or "none was needed yet"

    async def close(self) -> None:
        """Let go of all of them."""
        while self._drivers:
            _, driver = self._drivers.popitem()
            await driver.close()


async def _answer(driver: Driver) -> str:
    """What is wrong with a cloud; empty if nothing is."""
    try:
        await driver.ping()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return str(error) or type(error).__name__
    return ""
