"""What may be asked of the ledger: filters, order and the place where a page begins."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Column, ColumnElement, Select, func, or_, select, tuple_

from services.audit.outcomes import Outcome, condition
from services.audit.tables import LEDGER

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is no time that a calendar has") from error


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds invisible or unprintable characters")
    return text


def read_marker(marker: str) -> tuple[datetime, int]:
    """The time and id of the row behind which a page begins; ValueError if it names none."""
    microseconds, row_id = marker.rsplit("-", 1)
    try:
        return _EPOCH + int(microseconds) * _MICROSECOND, int(row_id)
    except OverflowError as error:
        raise ValueError("was not given out here") from error


def write_marker(time: datetime, row_id: int) -> str:
    """The marker of the page that begins behind this row."""
    return f"{(time - _EPOCH) // _MICROSECOND}-{row_id}"


def valid_marker(marker: str) -> str:
    """The same text if it is a marker; else ValueError."""
    read_marker(marker)
    return marker


Time = Annotated[AwareDatetime, AfterValidator(_utc)]
Said = Annotated[str, AfterValidator(_printable), Field(min_length=1, max_length=255)]
Pattern = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?$", max_length=100)]


class Narrowing(BaseModel):
    """Which entries; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    vm_id: UUID | None = Field(default=None, description="What is about this VM.")
    operation_id: UUID | None = Field(default=None, description="What belongs to this operation.")
    type: list[Pattern] = Field(
        default_factory=list[Pattern],
        max_length=32,
        description="One or more, e.g. `vm.create.v1`; `operation.*` stands for all of a kind.",
    )
    actor: Annotated[str, AfterValidator(_printable)] | None = Field(
        default=None, max_length=255, description="Who caused it, e.g. `key:NAME` or `cloud`."
    )
    target: Said | None = Field(default=None, description="What it is about: the id of a thing.")
    permission: Pattern | None = Field(
        default=None, description="What was asked for; `vm.*` stands for all of a kind."
    )
    outcome: Outcome | None = Field(
        default=None,
        description="How it went; `timeout`: a command of which no end is known to this day.",
    )
    credential: Said | None = Field(default=None, description="With which one, e.g. `key:ID`.")
    address: Said | None = Field(default=None, description="From where.")
    request_id: Said | None = Field(default=None, description="By which request, `req-…`.")
    format: Literal["hostler", "ocsf"] = Field(
        default="hostler", description="`ocsf`: as events of OCSF 1.1.0 (see docs/audit.md)."
    )
    since: Time | None = Field(default=None, description="Said at this time or later.")
    until: Time | None = Field(default=None, description="Said before this time.")

    def conditions(self, project_id: str | None) -> list[ColumnElement[bool]]:
        """The same of one project's rows, or of all, as conditions of a query."""
        equal = {"vm_id": self.vm_id, "operation_id": self.operation_id, "actor": self.actor}
        equal |= {"project_id": project_id, "subject": self.target, "address": self.address}
        equal |= {"credential": self.credential, "request_id": self.request_id}
        found = [LEDGER.c[name] == value for name, value in equal.items() if value is not None]
        if self.since is not None:
            found.append(LEDGER.c.time >= self.since)
        if self.until is not None:
            found.append(LEDGER.c.time < self.until)
        if self.type:
            found.append(or_(*[_matches(LEDGER.c.type, pattern) for pattern in self.type]))
        if self.permission is not None:
            found.append(_matches(LEDGER.c.permission, self.permission))
        if self.outcome is not None:
            found.append(condition(self.outcome))
        return found


class Filters(Narrowing):
    """The parameters of GET /v1/audit: which entries, in what order, from where on."""

    order: Literal["asc", "desc"] = Field(
        default="asc", description="By the time when it was said; `asc`: the newest last."
    )
    limit: int = Field(default=100, ge=1, le=1000, description="Entries of a page, at most.")
    marker: Annotated[str, AfterValidator(valid_marker)] | None = Field(
        default=None,
        pattern=r"^-?[0-9]{1,18}-[0-9]{1,18}$",
        description="Where the page begins; follow `links.next` rather than to build one.",
    )

    def select(self, project_id: str) -> Select[Any]:
        """The rows of the page of one project, and one more if there is a next page."""
        place = tuple_(LEDGER.c.time, LEDGER.c.id)
        query = select(LEDGER).where(*self.conditions(project_id))
        if self.marker is not None:
            behind = read_marker(self.marker)
            query = query.where(place > behind if self.order == "asc" else place < behind)
        columns = (LEDGER.c.time, LEDGER.c.id)
        ordered = [c.asc() if self.order == "asc" else c.desc() for c in columns]
        return query.order_by(*ordered).limit(self.limit + 1)


def _matches(column: Column[Any], pattern: str) -> ColumnElement[bool]:
    if not pattern.endswith("*"):
        return column == pattern
    prefix = pattern.removesuffix("*")
    # Not LIKE, which does not tell capitals on SQLite.
    return func.substr(column, 1, len(prefix)) == prefix
