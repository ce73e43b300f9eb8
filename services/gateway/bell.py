"""A bell: wakes everyone who waits for something new in the database of this process."""

import asyncio
from contextlib import suppress

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session


class Bell:
    """Rung after commits. Another replica's commits do not ring it: who waits looks by itself too."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    def ring_after(self, session: AsyncSession) -> None:
        """Ring once the session's transaction has committed."""
        if not session.info.get("rings"):
            session.info["rings"] = True
            event.listen(session.sync_session, "after_commit", self._committed, once=True)

    def _committed(self, _session: Session) -> None:
        self.ring()

    async def wait(self, at_most: float) -> bool:
        """Return when it rings, or after `at_most` seconds; whether it rang.

        Not `wait_for`, which in Python 3.11 loses a cancel that comes with the wake-up.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                return await self._rung.wait()
        return False
