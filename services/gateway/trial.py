"""Dry runs: what would become of a command, and what the cloud would be asked, without giving it."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import HostlerError, Retry
from chassis.ids import new_id
from chassis.outbox import say
from contracts.access.permission import CommandTried
from contracts.errors import MEANINGS
from contracts.message import Message
from contracts.vm.commands import Create, Import
from services.gateway.context import Gateway
from services.gateway.etags import require_match
from services.gateway.identity.permission import bearer_of, is_dry
from services.gateway.imports import Wanted, would_take
from services.gateway.intake import Asked
from services.gateway.reading import operations, vms
from services.gateway.resources import Check, DryRun, Verdict
from services.gateway.steering import undoing, why_not
from services.gateway.tables import OPERATIONS
from services.gateway.turns import require_state, under_way


async def read_trial(
    request: Request,
    dry_run: Annotated[
        bool, Query(description="Only say what would become of it: a 200, and nothing is done.")
    ] = False,
) -> Request | None:
    """The request, if it is to be tried only: what either reader takes for a dry run is one."""
    return request if dry_run or is_dry(request) else None


Trial = Annotated[Request | None, Depends(read_trial)]


async def tried(gateway: Gateway, request: Request, asked: Asked) -> DryRun:
    """What would become of a command on a VM, or of a create. Terminal(NOT_FOUND) as the command."""
    found = await _permitted(gateway, request, asked)
    waiting: list[UUID] = []
    async with gateway.database.reading() as session:
        if isinstance(asked.command, Create):
            found.append(await _references(gateway, session, asked, asked.command))
            found.append(await _quota(session, asked.caller.project_id))
        elif asked.vm_id is not None:
            row = await vms.find(session, asked.caller.project_id, asked.vm_id)
            ahead = (await under_way(session, [row.id]))[row.id]
            waiting = [each.id for each in ahead]
            found.append(
                _verdict("precondition", lambda: require_match(asked.if_match, row.revision))
            )
            found.append(_verdict("state", lambda: require_state(row, ahead, asked.command)))
    return await _told(gateway, asked, found, asked.vm_id, waiting)


async def tried_steering(
    gateway: Gateway, request: Request, asked: Asked, operation_id: UUID
) -> DryRun:
    """The same of what is asked of an operation."""
    found = await _permitted(gateway, request, asked)
    async with gateway.database.reading() as session:
        row = await operations.find(session, asked.caller.project_id, operation_id)
    reason = why_not(type(asked.command), row)
    found.append(Verdict(check="state", passes=reason is None, detail=reason or ""))
    return await _told(gateway, asked, found, row.vm_id, [], calls=undoing(asked.command, row))


async def tried_import(gateway: Gateway, request: Request, wanted: Wanted) -> DryRun:
    """The same of an import; the calls are those for each server."""
    each = Import.model_construct(server_id="")
    asked = Asked(wanted.caller, each, None, wanted.request_id, "")
    found = await _permitted(gateway, request, asked)
    async with gateway.database.reading() as session:
        try:
            many = await would_take(session, wanted)
            detail = f"{many} servers would be taken in."
            found.append(Verdict(check="references", passes=True, detail=detail))
        except HostlerError as refusal:
            found.append(_refused("references", refusal))
    return await _told(gateway, asked, found, None, [])


async def _permitted(gateway: Gateway, request: Request, asked: Asked) -> list[Verdict]:
    permission, caller = asked.command.permission(), asked.caller
    needed = gateway.policy.needed(permission, asked.command.role)
    return [
        _verdict("permission", lambda: caller.needs(needed, permission)),
        await _policy(gateway, request, permission),
    ]


async def _policy(gateway: Gateway, request: Request, permission: str) -> Verdict:
    """Whether it comes signed, and after a second factor, where that is asked for."""
    try:
        gateway.signatures.require(request, permission)
        if bearer := bearer_of(request):
            await gateway.identity.step_up.require_for(bearer, permission)
    except HostlerError as refusal:
        return _refused("policy", refusal)
    return Verdict(check="policy", passes=True)


async def _references(
    gateway: Gateway, session: AsyncSession, asked: Asked, create: Create
) -> Verdict:
    account = gateway.account(asked.caller.project_id)
    try:
        resolved = await gateway.intake.references.resolve(session, account, create)
    except Retry as refusal:
        return Verdict(check="references", passes=None, detail=refusal.detail)
    except HostlerError as refusal:
        return _refused("references", refusal)
    made = resolved.command
    assert isinstance(made, Create)  # noqa: S101 - what a create becomes
    joined = ", ".join(made.networks or []) or "none"
    detail = f"flavor {made.flavor}, image {made.image}, networks: {joined}"
    return Verdict(check="references", passes=True, detail=detail)


async def _quota(session: AsyncSession, project_id: str) -> Verdict:
    """Not known: only the cloud counts. What waits for room already stands in the read model."""
    waits = OPERATIONS.c.ended_at.is_(None) & (OPERATIONS.c.blocked_on == "quota")
    query = select(func.count()).where(OPERATIONS.c.project_id == project_id, waits)
    waiting = await session.scalar(query) or 0
    detail = "The cloud decides; without room the operation waits for it until its deadline."
    if waiting:
        detail += f" {waiting} of the project's operations wait for room now."
    return Verdict(check="quota", passes=None, detail=detail)


def _verdict(check: Check, test: Callable[[], None]) -> Verdict:
    try:
        test()
    except HostlerError as refusal:
        return _refused(check, refusal)
    return Verdict(check=check, passes=True)


def _refused(check: Check, refusal: HostlerError) -> Verdict:
    detail = refusal.detail or MEANINGS[refusal.code].sentence
    return Verdict(check=check, passes=False, detail=detail, code=refusal.code)


async def _told(
    gateway: Gateway,
    asked: Asked,
    found: list[Verdict],
    vm_id: UUID | None,
    waiting: list[UUID],
    *,
    calls: tuple[str, ...] | None = None,
) -> DryRun:
    """The answer; that somebody asked is told to the audit, and nothing else is written."""
    command = asked.command
    refused: tuple[str, ...] = tuple(each.check for each in found if each.passes is False)
    data = CommandTried(
        command=command.wire_name(),
        vm_id=vm_id,
        would_be_accepted=not refused,
        refused=refused,
    )
    async with gateway.database.session() as session:
        await say(session, _trace(gateway, asked, data))
    return DryRun(
        command=command.wire_name(),
        vm_id=vm_id,
        would_be_accepted=not refused,
        verdicts=found,
        calls=[] if refused else list(command.calls() if calls is None else calls),
        waits_for=waiting[-1] if waiting else None,
        position=len(waiting),
    )


def _trace(gateway: Gateway, asked: Asked, data: CommandTried) -> Message[CommandTried]:
    return Message(
        id=new_id(),
        source="hostler/gateway",
        time=gateway.clock(),
        subject=str(data.vm_id or asked.caller.actor),
        project_id=asked.caller.project_id,
        account=gateway.account(asked.caller.project_id),
        actor=asked.caller.actor,
        request_id=asked.request_id,
        override=asked.caller.override,
        data=data,
    )
