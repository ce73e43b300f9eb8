"""A message as a Kafka record and back: CloudEvents 1.0, Kafka protocol binding, binary mode.

Each context attribute is a header `ce_NAME`, the body is the data alone as JSON, and the trace
context stands in the header `traceparent` (W3C), where every tracing library looks for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pydantic_core
from pydantic import ValidationError

from contracts.message import Body, Message
from contracts.topics import topic_of, types
from contracts.upcast import STEPS, upcast

_HEADERS = {
    "ce_id": "id",
    "ce_source": "source",
    "ce_time": "time",
    "ce_subject": "subject",
    "ce_projectid": "project_id",
    "ce_account": "account",
    "ce_actor": "actor",
    "ce_operationid": "operation_id",
    "ce_requestid": "request_id",
    "ce_hostlersig": "signature",
    "ce_override": "override",
    "ce_address": "address",
    "ce_client": "client",
    "ce_credential": "credential",
    "ce_permission": "permission",
    "traceparent": "traceparent",
}
SIGNATURE = "ce_hostlersig"
_MESSAGE = Message[Body].__pydantic_validator__
_NOBODY = UUID(int=0)
_FIXED = {"ce_specversion": "1.0", "content-type": "application/json"}


class Poison(ValueError):
    """A record that is not a message; its text says why, without the values."""


@dataclass(frozen=True)
class Record:
    """What stands on Kafka."""

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes
    partition: int = 0
    offset: int = 0
    appended_ms: int = 0
    malformed: str = field(default="", metadata={"says": "why headers or key were unreadable"})


def encode(message: Message[Body]) -> Record:
    """The record that says `message`, on the one topic that carries its type."""
    attributes = message.model_dump(mode="json", exclude={"data"}, exclude_none=True)
    headers = {h: str(attributes[name]) for h, name in _HEADERS.items() if attributes.get(name)}
    return Record(
        topic=topic_of(type(message.data)).name,
        key=message.subject,
        headers={**_FIXED, "ce_type": message.type, **headers},
        value=message.data.model_dump_json(exclude={"type"}).encode(),
    )


def decode(record: Record) -> Message[Body]:
    """The message that a record says, in its newest version; Poison if it says none."""
    if record.malformed:
        raise Poison(record.malformed)
    said = record.headers.get("ce_type", "")
    attributes = {name: record.headers[h] for h, name in _HEADERS.items() if h in record.headers}
    try:
        data = _body(said, record.value)
        return _MESSAGE.validate_python({**attributes, "data": data})
    except ValidationError as error:
        raise Poison(summary(error)) from error


@dataclass(frozen=True)
class Passed:
    """A record of a type that is nothing to its reader: it was not read."""

    type: str
    id: UUID = _NOBODY
    traceparent: str = ""


def only(*bodies: type[Body]) -> Callable[[Record], Message[Body] | Passed]:
    """A reader of those types alone. What else the topics carry is passed, anything else poison."""
    wanted = {body.wire_name() for body in bodies}

    def read(record: Record) -> Message[Body] | Passed:
        said = record.headers.get("ce_type", "")
        if said in wanted or said in STEPS or said not in types():
            return decode(record)
        return Passed(said)

    return read


def _body(said: str, value: bytes) -> Body:
    """The data as its newest type; that of the newest type is read in one go."""
    body = types().get(said)
    if body is not None and said not in STEPS and value.lstrip()[:1] == b"{":
        return body.__pydantic_validator__.validate_json(value)
    wire_name, data = upcast(said, _json(value))
    body = types().get(wire_name)
    if body is None:
        raise Poison(f"unknown type {said!r}")
    return body.model_validate_json(pydantic_core.to_json(data))


def received(  # noqa: PLR0917 - the parts of a Kafka record
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    headers: Sequence[tuple[str, bytes]],
    value: bytes | None,
    appended_ms: int = 0,
) -> Record:
    """A record as it came from Kafka; bytes that are no text are escaped, as is NUL.

    PostgreSQL keeps no NUL: a record with one among its headers is malformed.
    """
    try:
        texts = {name: raw.decode() for name, raw in headers}
    except UnicodeDecodeError:
        texts = {name: raw.decode("utf-8", "backslashreplace") for name, raw in headers}
    malformed = "" if value is not None else "no value"
    if "\0" in "".join((*texts, *texts.values())):
        malformed = "a NUL character in the headers"
        texts = {_without_nul(name): _without_nul(text) for name, text in texts.items()}
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        key=_without_nul((key or b"").decode("utf-8", "backslashreplace")),
        headers=texts,
        value=value or b"",
        appended_ms=appended_ms,
        malformed=malformed,
    )


def _without_nul(text: str) -> str:
    return text.replace("\0", "\\x00")


def _json(value: bytes) -> dict[str, Any]:
    try:
        data = pydantic_core.from_json(value)
    except ValueError as error:
        raise Poison(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Poison("not a JSON object")
    return data  # pyright: ignore[reportUnknownVariableType]


def summary(error: ValidationError) -> str:
    """Which fields are wrong and how, without their values: they may be secret."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)[:5]
    )
