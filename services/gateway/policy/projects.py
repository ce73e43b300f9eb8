"""What a project has chosen, as everybody who acts in it meets it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, as_service, insert
from chassis.leases import Clock
from services.gateway.identity.trust import Trusted
from services.gateway.policy.tables import PROJECTS


@dataclass(frozen=True)
class Chosen:
    """The settings of a project, as they are by default."""

    owner_only: bool = False


class Projects:
    """What projects have chosen; believed for as long as a key is."""

    def __init__(self, database: Database, clock: Clock, cached_for: timedelta) -> None:
        self.database = database
        self._known: Trusted[str, Chosen] = Trusted(self._find, clock, cached_for)

    async def of(self, project_id: str) -> Chosen:
        """What a project has chosen."""
        return await self._known.get(project_id) or Chosen()

    def forget(self) -> None:
        """Ask anew: one was changed here."""
        self._known.forget()

    async def _find(self, project_id: str) -> Chosen:
        with as_service():
            async with self.database.reading() as session:
                return await chosen(session, project_id)


async def chosen(session: AsyncSession, project_id: str) -> Chosen:
    """What stands in the database."""
    query = select(PROJECTS.c.owner_only).where(PROJECTS.c.project_id == project_id)
    return Chosen(owner_only=bool(await session.scalar(query)))


async def choose(
    session: AsyncSession, project_id: str, wanted: Chosen, by: str, now: datetime
) -> None:
    """Write down what a project chooses."""
    said = {"owner_only": wanted.owner_only, "updated_at": now, "updated_by": by}
    row = insert(session, PROJECTS).values(project_id=project_id, **said)
    await session.execute(row.on_conflict_do_update(index_elements=["project_id"], set_=said))
