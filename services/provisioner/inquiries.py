"""What the cloud is asked about a request that it took and that sync's observations leave in doubt."""

import logging
from datetime import datetime, timedelta

from contracts.errors import ErrorCode
from contracts.operation.states import OperationError
from contracts.vm.commands import Create, Delete, VmCommand
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import ActionRecord, Driver
from services.provisioner.actions import Order, Taken, record_of
from services.provisioner.settling import (
    Doubt,
    Failed,
    NotYet,
    Observation,
    Verdict,
    settled,
)

LOG = logging.getLogger(__name__)
DROPPED_AFTER = timedelta(minutes=1)
"""For how long an idle server may stand after its delete, by the cloud's clock."""


async def inquire(driver: Driver, order: Order, called: Taken) -> Verdict:
    """Clear up a doubt by the cloud's record of the action, then by a look; NotYet if it stays."""
    if called.server_id is None:
        return NotYet()
    if isinstance(order.command, Create):
        return await _inquire_build(driver, order, called, called.server_id)
    record = await _record_of(driver, order.command, called, called.server_id)
    if record is None or not (record.finished or record.failed):
        if isinstance(order.command, Delete):
            await _delete_again(driver, order, called, called.server_id)
        return NotYet()
    if record.failed:
        detail = record.message or f"The cloud's record says that {record.action} failed."
        return Failed(OperationError(code=ErrorCode.CLOUD_FAULT, detail=detail))
    return await _look_again(driver, order, called, called.server_id)


async def _inquire_build(driver: Driver, order: Order, called: Taken, server_id: str) -> Verdict:
    """Whether a build hangs or its server was removed; that it succeeded is sync's to say."""
    looked = await driver.look(server_id)
    if looked.clock <= called.called_at:
        return NotYet()
    if not looked.servers:
        detail = "The server is no longer there while create waited for it."
        return Failed(OperationError(code=ErrorCode.NO_SERVER, detail=detail), gone=True)
    vm = looked.servers[0].snapshot
    if vm.state is VmState.BUILDING:
        hangs = looked.clock - called.called_at >= order.patience
        return Failed(_stalled(vm, called.called_at)) if hangs else NotYet()
    verdict = settled(order.command, called.called_at, Observation(vm, looked.clock))
    return verdict if isinstance(verdict, Failed) else NotYet()


async def _delete_again(driver: Driver, order: Order, called: Taken, server_id: str) -> None:
    """Ask for a delete once more that the cloud took, and is not at any more.

    Nothing else is asked for again unasked: only of a delete is it all the same how often.
    """
    looked = await driver.look(server_id)
    idle = any(seen.snapshot.task is None for seen in looked.servers)
    if idle and looked.clock - called.called_at >= DROPPED_AFTER:
        LOG.warning("the cloud has dropped the delete of %s: it is asked again", server_id)
        await driver.delete(server_id, order.request_id)


def _stalled(vm: VmSnapshot, since: datetime) -> OperationError:
    task = f"the task {vm.task!r}" if vm.task else "no task"
    detail = f"The server is in build since {since:%Y-%m-%d %H:%M:%S} UTC, with {task}."
    return OperationError(code=ErrorCode.STALLED, detail=detail)


async def _record_of(
    driver: Driver, command: VmCommand, called: Taken, server_id: str
) -> ActionRecord | None:
    """By the cloud's request id, else the latest of the command's verb since the call."""
    if called.cloud_request_id is not None:
        known = await driver.actions(server_id, called.cloud_request_id)
        if known:
            return known[0]
    return record_of(await driver.actions(server_id), command, called.called_at)


async def _look_again(driver: Driver, order: Order, called: Taken, server_id: str) -> Verdict:
    """The action is over: NO_EFFECT unless a look shows it after all (then sync will say so)."""
    looked = await driver.look(server_id)
    if not looked.servers:
        return NotYet()
    vm = looked.servers[0].snapshot
    verdict = settled(order.command, called.called_at, Observation(vm, looked.clock))
    if not isinstance(verdict, Doubt):
        return verdict if isinstance(verdict, Failed) else NotYet()
    detail = f"The cloud finished {order.command.title()}, yet the server is {vm.state}."
    return Failed(OperationError(code=ErrorCode.NO_EFFECT, detail=detail))
