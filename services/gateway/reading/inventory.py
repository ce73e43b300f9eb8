"""Orphans and unmanaged servers out of the read model."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, Select, or_, select

from contracts.vm.states import VmState
from services.gateway.resources import Orphan, UnmanagedServer
from services.gateway.tables import ORPHANS, UNMANAGED, columns


def orphans(account: str, project_id: str) -> Select[Any]:
    """What is an orphan in the account now, of the project's or of nobody's VMs."""
    return select(ORPHANS).where(
        ORPHANS.c.account == account,
        ORPHANS.c.gone_at.is_(None),
        or_(ORPHANS.c.project_id == project_id, ORPHANS.c.project_id == ""),
    )


def orphan(row: Row[Any], grace: timedelta | None) -> Orphan:
    """An orphan as the API answers it; `grace` is None where none is ever removed."""
    removal = row.found_at + grace if row.proven and grace is not None else None
    return Orphan.model_validate({**columns(row), "removal_at": removal})


@dataclass(frozen=True)
class ServerFilter:
    """Which of an account's unmanaged servers; `name` knows `*` and `?`, and no case."""

    account: str
    name: str | None = None
    states: frozenset[VmState] = frozenset()
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """Looked at by `covers` alone."""

    def query(self) -> Select[Any]:
        """The servers that are there now, but for their metadata."""
        query = select(UNMANAGED).where(
            UNMANAGED.c.account == self.account, UNMANAGED.c.gone_at.is_(None)
        )
        if self.name is not None:
            query = query.where(UNMANAGED.c.folded_name.like(_like(self.name), escape="\\"))
        if self.states:
            query = query.where(UNMANAGED.c.state.in_([each.value for each in self.states]))
        return query

    def covers(self, row: Row[Any]) -> bool:
        """Whether a server has all the metadata that is asked for."""
        return self.metadata.items() <= row.vm["metadata"].items()


def server(row: Row[Any]) -> UnmanagedServer:
    """An unmanaged server as the API answers it."""
    return UnmanagedServer.model_validate({**columns(row), "seen_at": row.said_at})


def _like(glob: str) -> str:
    escaped = "".join(f"\\{c}" if c in "\\%_" else c for c in glob.casefold())
    return escaped.replace("*", "%").replace("?", "_")
