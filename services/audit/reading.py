"""How audit reads a record: as what was said, not as what this version of Hostler makes of it.

Fields that are not known yet are kept; what the data is to hold is the business of those who act on
it. Poison is only what the ledger cannot keep or tell: no such type, no JSON object, no id or time.
"""

import json
import re
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, cast
from uuid import UUID

import pydantic_core

from chassis.wire import Poison, Record
from contracts.topics import types
from contracts.upcast import STEPS
from services.audit.redaction import redact

_NEEDED = itemgetter("ce_id", "ce_time", "ce_source", "ce_subject", "ce_actor")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
)


class Heard(NamedTuple):
    """A message as audit keeps it; `data` is canonical JSON without secrets (see `ledger`).

    Ids are texts, in lower case with hyphens: most of them are never anything else.
    """

    message_id: str
    type: str
    time: datetime
    source: str
    subject: str
    project_id: str
    account: str
    actor: str
    operation_id: str | None
    request_id: str
    traceparent: str
    data: str
    address: str = ""
    client: str = ""
    credential: str = ""
    permission: str = ""

    @property
    def id(self) -> UUID:
        """The message's id."""
        return UUID(self.message_id)


def read(record: Record) -> Heard:
    """The message that a record says; Poison if it says none."""
    if record.malformed:
        raise Poison(record.malformed)
    data = _object(record.value)
    said = record.headers
    wire_name = said.get("ce_type", "")
    if wire_name not in _known():
        raise Poison(f"unknown type {wire_name!r}")
    redact(wire_name, data)
    try:
        message_id, time, source, subject, actor = _NEEDED(said)
    except KeyError as error:
        raise Poison(f"{error.args[0]}: is missing") from error
    operation_id = said.get("ce_operationid")
    return Heard(
        message_id=_uuid("ce_id", message_id),
        type=wire_name,
        time=_time(time),
        source=source,
        subject=subject,
        project_id=said.get("ce_projectid", ""),
        account=said.get("ce_account", ""),
        actor=actor,
        operation_id=_uuid("ce_operationid", operation_id) if operation_id else None,
        request_id=said.get("ce_requestid", ""),
        traceparent=said.get("traceparent", ""),
        data=_canonical(data),
        address=said.get("ce_address", ""),
        client=said.get("ce_client", ""),
        credential=said.get("ce_credential", ""),
        permission=said.get("ce_permission", ""),
    )


@cache
def _known() -> frozenset[str]:
    return frozenset(types()) | frozenset(STEPS)


def _object(value: bytes) -> dict[str, Any]:
    try:
        data = pydantic_core.from_json(value)
    except ValueError as error:
        raise Poison(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Poison("not a JSON object")
    return cast("dict[str, Any]", data)


def _canonical(data: dict[str, Any]) -> str:
    try:
        return _CANONICAL.encode(data)
    except ValueError as error:
        raise Poison(f"not JSON: {error}") from error


def _uuid(header: str, text: str) -> str:
    found = uuid_text(text)
    if found is None:
        raise Poison(f"{header}: is no UUID")
    return found


def uuid_text(text: str) -> str | None:
    """A UUID in lower case with hyphens; None if the text is none."""
    if _UUID.fullmatch(text):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return None


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise Poison("ce_time: carries no zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, Poison):
            raise
        raise Poison("ce_time: is no time in ISO 8601") from error
