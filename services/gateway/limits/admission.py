"""What a known caller passes before every route: where they are, how often they ask, what they hold."""

from fastapi import Request

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.problems import Refusal
from contracts.errors import ErrorCode
from services.gateway.context import Gateway, gateway_of
from services.gateway.http import Passage, passage_of
from services.gateway.identity.permission import note_permission
from services.gateway.limits.classes import RouteClass, Subject
from services.gateway.limits.limiter import RateLimited, told_of
from services.gateway.limits.slots import Held

ADDRESS, SIGNATURE = "address", "signature"
"""What stands in `access.refused` where a permission would."""


async def admit(request: Request, caller: Caller) -> None:
    """403 from a place that project or key do not allow, 429 for too much, 401 for a bad signature."""
    gateway, passage = gateway_of(request), passage_of(request)
    if not gateway.allow_list.admits(caller.project_id, caller.allowed_cidrs, passage.address):
        note_permission(request, ADDRESS)
        raise Terminal(ErrorCode.FORBIDDEN, "The caller may not come from this address.")
    await _charge(gateway, passage, caller)
    _hold(gateway, passage, caller, request.headers.get("prefer", ""))
    try:
        request.state.signer = await gateway.signatures.read(request, caller)
    except Refusal:
        note_permission(request, SIGNATURE)
        raise


async def _charge(gateway: Gateway, passage: Passage, caller: Caller) -> None:
    if passage.kind is None:
        return
    whom = {Subject.CALLER: _named(caller)}
    if caller.project_id:
        whom[Subject.PROJECT] = caller.project_id
    try:
        passage.told = await gateway.limiter.charge(passage.kind, whom, Subject.CALLER)
    except RateLimited as refusal:
        passage.told = told_of(refusal.standing)
        raise


def _hold(gateway: Gateway, passage: Passage, caller: Caller, prefer: str) -> None:
    """Take a slot for as long as the request lasts, if it is one that may last."""
    if passage.kind is RouteClass.STREAM:
        passage.hold(gateway.slots.take(Held.STREAM, _named(caller)))
    elif "wait" in prefer.lower():
        passage.hold(gateway.slots.take(Held.WAIT, _named(caller)))


def _named(caller: Caller) -> str:
    """What stands for the caller where it is counted: its key, or the user in all projects."""
    return str(caller.key_id or caller.user_id or f"{caller.project_id}/{caller.actor}")
