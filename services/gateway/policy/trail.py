"""What of a project's audit a caller sees who does not see all of the project."""

from uuid import UUID

import httpx
from fastapi import Request

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.problems import invalid
from contracts.errors import ErrorCode
from services.gateway.context import Gateway
from services.gateway.policy.sharing import seen_among, standing_of


async def seen_trail(gateway: Gateway, caller: Caller, request: Request) -> str:
    """The query that audit is asked: as it came, or narrowed for a private caller.

    They see what concerns a VM that is theirs, if they name it or an operation on it, and else what
    they did themselves. Terminal(NOT_FOUND) for a VM that is not; a 400 for what somebody else did.
    """
    if not caller.is_private:
        return request.url.query
    asked = httpx.QueryParams(request.url.query)
    named = [name for name in ("vm_id", "operation_id") if name in asked]
    for name in named:
        text = request.query_params[name]
        await _require_seen(gateway, caller, name, UUID(text))
        asked = asked.set(name, text)
    if not named:
        if request.query_params.get("actor", caller.actor) != caller.actor:
            why = "In this project you see what you did, or what concerns a VM of yours: name it."
            raise invalid("query.actor", why)
        asked = asked.set("actor", caller.actor)
    return str(asked)


async def _require_seen(gateway: Gateway, caller: Caller, name: str, thing: UUID) -> None:
    async with gateway.database.reading() as session:
        if name == "vm_id":
            is_seen = bool(await seen_among(session, caller, [thing]))
        else:
            standing = await standing_of(session, caller, operation_id=thing)
            is_seen = standing is not None and (standing.is_owner or bool(standing.shared_as))
    if not is_seen:
        raise Terminal(ErrorCode.NOT_FOUND)
