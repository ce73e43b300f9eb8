"""Query and path parameters: none that the route does not know, none with invisible characters."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from chassis.problems import FieldError, Refusal, invalid
from contracts.errors import ErrorCode

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}T")
_HIDDEN = {"Cc", "Cf", "Cs", "Cn"}


async def refuse_unknown_parameters(request: Request) -> None:
    """A 400 for a query parameter that the route does not have, naming those that it has.

    A misspelt filter would otherwise answer more than was asked for.
    """
    route: Any = request.scope["route"]
    asked = set(request.query_params)
    known = _known(route.dependant) if asked and isinstance(route, APIRoute) else set[str]()
    if unknown := sorted(asked - known):
        offered = f"known: {', '.join(sorted(known))}" if known else "this route takes none"
        errors = [FieldError(field=f"query.{n[:80]}", message="unknown") for n in unknown[:10]]
        raise Refusal(ErrorCode.INVALID, f"Unknown query parameter; {offered}.", errors=errors)
    for where, pairs in (
        ("query", request.query_params.multi_items()),
        ("path", request.path_params.items()),
    ):
        for name, value in pairs:
            _require_visible(f"{where}.{name}", str(value))


def _known(dependant: Dependant) -> set[str]:
    own = {each.alias for each in dependant.query_params}
    return own.union(*[_known(each) for each in dependant.dependencies])


def _require_visible(field: str, text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    hidden = [c for c in text if unicodedata.category(c) in _HIDDEN]
    if hidden:
        sentence = f"Holds the invisible or unprintable character U+{ord(hidden[0]):04X}."
        raise invalid(field, sentence)


def _iso(text: object) -> object:
    """Refuse bare numbers, which pydantic would take for seconds or milliseconds."""
    if isinstance(text, str) and not _ISO.match(text):
        raise ValueError("is not like 2026-01-01T00:00:00Z")
    return text


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


Moment = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_utc)]
"""A time in a query parameter, in UTC."""


def none_given() -> list[Any]:
    """No values, for a parameter that may be given several times.

    Where `list` itself is the default factory, its signature is read from its docstring at each request.
    """
    return []


EventTypes = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?$", max_length=100)]],
    Query(
        default_factory=none_given,
        max_length=32,
        description="One or more; `operation.*` stands for all of a kind.",
    ),
]
"""Which types of messages."""
