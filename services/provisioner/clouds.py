"""The drivers of this process: one per account, made when it is first needed."""

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
        """How the clouds are that were needed so far. Never raises: operations wait for a cloud."""
        return ", ".join([f"{a}: {await _answer(d)}" for a, d in self._drivers.items()]) or "idle"

    async def close(self) -> None:
        """Let go of all of them."""
        while self._drivers:
            _, driver = self._drivers.popitem()
            await driver.close()


async def _answer(driver: Driver) -> str:
    try:
        await driver.ping()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return str(error)
    return "ok"
