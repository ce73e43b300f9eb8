"""Query and path parameters: none that the route does not know, none with invisible characters."""

import unicodedata
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from chassis.problems import FieldError, Refusal, invalid
from contracts.errors import ErrorCode

_HIDDEN = {"Cc", "Cf", "Cs", "Cn"}


def refuse_unknown_parameters(request: Request) -> None:
    """A 400 for a query parameter that the route does not have, naming those that it has.

    A misspelt filter would otherwise answer more than was asked for.
    """
    route: Any = request.scope["route"]
    known = _known(route.dependant) if isinstance(route, APIRoute) else set[str]()
    unknown = sorted(set(request.query_params) - known)
    if unknown:
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
    hidden = [c for c in text if unicodedata.category(c) in _HIDDEN]
    if hidden:
        sentence = f"Holds the invisible or unprintable character U+{ord(hidden[0]):04X}."
        raise invalid(field, sentence)
