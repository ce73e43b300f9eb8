"""Servers that an answer shows just as they are known: told so without being read.

Two things are compared. By its fingerprint a server is one that this process has read before, which
gives the digest that reading it again would give; and the tables, asked in every sweep, hold that
digest. So what anybody else writes meanwhile is seen, and a process that takes over, or whose write
failed, merely reads more.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from contracts.vm.states import VmState
from drivers.base import Glimpse, Seen
from services.sync.drift import canonical, digest
from services.sync.strangers import without_moves
from services.sync.tables import STRANGERS, VMS


class Said(NamedTuple):
    """What was said of servers, by id: the digest of a living VM, or of a stranger.

    A VM that is to be looked at is not among them: whatever a sweep shows of it is news.
    """

    vms: Mapping[str, str | None]
    strangers: Mapping[str, str]


async def said(
    session: AsyncSession, account: str, server_ids: Collection[str] | None = None
) -> Said:
    """Of all servers of an account, or of these."""
    mine = VMS.c.account == account, VMS.c.server_id.is_not(None), VMS.c.look_due_at.is_(None)
    vms = select(VMS.c.server_id, VMS.c.digest).where(*mine, VMS.c.state != VmState.DELETED.value)
    theirs = STRANGERS.c.account == account
    strangers = select(STRANGERS.c.server_id, STRANGERS.c.digest).where(theirs)
    if server_ids is not None:
        vms = vms.where(among(VMS.c.server_id, server_ids))
        strangers = strangers.where(among(STRANGERS.c.server_id, server_ids))
    return Said(
        dict((await session.execute(vms)).tuples().all()),
        dict((await session.execute(strangers)).tuples().all()),
    )


class _Face(NamedTuple):
    """A server as it was read last; `stranger` is the digest that it has as nobody's."""

    fingerprint: bytes
    digest: str
    stranger: str | None


class Memory:
    """One account's servers as this process read them last: a few hundred bytes for each.

    It is right by itself, as the same fingerprint always reads the same, and is never written to
    the tables.
    """

    def __init__(self) -> None:
        self._faces: dict[str, _Face] = {}

    def __len__(self) -> int:
        """How many servers are remembered."""
        return len(self._faces)

    def fingerprint(self, server_id: str) -> bytes | None:
        """That of a server when it was read last; None if it never was."""
        face = self._faces.get(server_id)
        return face.fingerprint if face is not None else None

    def familiar(self, glimpses: Iterable[Glimpse]) -> list[str]:
        """The ids of those that need not be read, if the tables hold what they are."""
        return [g.server_id for g in glimpses if self._face(g) is not None]

    def knows(self, glimpse: Glimpse, said: Said) -> bool:
        """Whether a server is as it was said to be."""
        face, server_id = self._face(glimpse), glimpse.server_id
        if face is None:
            return False
        if said.vms.get(server_id) == face.digest:
            return True
        return face.stranger is not None and said.strangers.get(server_id) == face.stranger

    def read(self, glimpses: Iterable[Glimpse]) -> list[Seen]:
        """The servers, read, and remembered as they are now. One that cannot be read is left out."""
        found: list[Seen] = []
        for glimpse in glimpses:
            seen = glimpse.read()
            if seen is not None:
                found.append(seen)
                self._faces[glimpse.server_id] = _face(glimpse.fingerprint, seen)
        return found

    def keep(self, server_ids: Collection[str]) -> None:
        """Forget all others: they are there no more."""
        self._faces = {i: face for i, face in self._faces.items() if i in server_ids}

    def _face(self, glimpse: Glimpse) -> _Face | None:
        face = self._faces.get(glimpse.server_id)
        return face if face is not None and face.fingerprint == glimpse.fingerprint else None


def _face(fingerprint: bytes, seen: Seen) -> _Face:
    picture = canonical(seen.snapshot)
    stranger = digest(without_moves(picture)) if seen.mark is None else None
    return _Face(fingerprint, digest(picture), stranger)
