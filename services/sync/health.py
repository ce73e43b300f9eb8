"""How the sweeps of an account go, for /readyz: a cloud that is down is no failure of sync."""

from chassis.database import Database
from chassis.leases import Clock
from services.sync.tables import Account


class SweptProbe:
    """Says when an account was last swept; raises with the reason while its cloud fails."""

    def __init__(self, database: Database, account: str, clock: Clock) -> None:
        self.database = database
        self.account = account
        self.clock = clock

    async def __call__(self) -> str:
        """`swept 3 s ago`, or ConnectionError while the cloud fails."""
        async with self.database.reading() as session:
            row = await session.get(Account, self.account)
        if row is not None and row.failures:
            raise ConnectionError(f"failed {row.failures} times in a row: {row.error}")
        if row is None or row.swept_at is None:
            return "not swept yet"
        age = (self.clock() - row.swept_at).total_seconds()
        return f"swept {age:.0f} s ago"
