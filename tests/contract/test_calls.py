"""What a dry run says that the cloud would be asked is what it is asked: the driver's calls, recorded."""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import pytest

from chassis.testing import VirtualClock
from contracts.message import Command
from contracts.topics import VM_COMMANDS
from contracts.vm.commands import (
    Delete,
    Import,
    Pause,
    Reboot,
    Start,
    Stop,
    Sync,
    Unpause,
    Update,
    VmCommand,
)
from contracts.vm.states import VmState
from deploy.local.cloud import GivenCloud
from drivers.base import Mark
from drivers.openstack.calls import Answer, Call
from drivers.openstack.connection import Connection
from services.provisioner.actions import Order, Taken, perform
from tests.conformance.account import Account, new_request_id, opened_account
from tests.conformance.targets import Target, opened
from tests.infra.plan import Infrastructure

Send = Callable[[Connection, Call], Answer]
LIFE: list[tuple[VmCommand, VmState]] = [
    (Update(name="web-2"), VmState.ACTIVE),
    (Update(name="web-3", description="d", metadata={"a": "b"}, tags=["x"]), VmState.ACTIVE),
    (Update(metadata={}), VmState.ACTIVE),
    (Update(tags=[]), VmState.ACTIVE),
    (Reboot(hard=False), VmState.ACTIVE),
    (Reboot(hard=True), VmState.ACTIVE),
    (Pause(), VmState.PAUSED),
    (Unpause(), VmState.ACTIVE),
    (Stop(), VmState.STOPPED),
    (Start(), VmState.ACTIVE),
]
"""What is asked of one server, one after the other, and how each leaves it."""


@contextmanager
def recorded() -> Generator[list[str]]:
    """Every call that goes out, in a dry run's words."""
    calls: list[str] = []
    send = cast("Send", Connection.send)

    def sending(connection: Connection, call: Call) -> Answer:
        calls.append(told(call))
        return send(connection, call)

    with patch.object(Connection, "send", sending):
        yield calls


def told(call: Call) -> str:
    """Method, path and, of an action, which and how: `POST /servers/{id}/action reboot HARD`."""
    words = [call.method, call.template]
    if call.template.endswith("/action"):
        [(action, how)] = cast("dict[str, Any]", call.body).items()
        words += [action, *(cast("dict[str, str]", how).values() if how else ())]
    return " ".join(words)


@pytest.fixture
def target(infrastructure: Infrastructure) -> Iterator[Target]:
    cloud = infrastructure.cloud()
    if isinstance(cloud, GivenCloud):
        pytest.skip("what is asked is the same everywhere, and a simulated cloud is quicker")
    with opened("openstack", cloud) as made:
        yield made


@pytest.fixture
async def account(target: Target) -> AsyncIterator[Account]:
    async with opened_account(target.paged(1000)) as made:
        yield made


async def asked(account: Account, command: VmCommand, mark: Mark, server_id: str | None) -> str:
    """Have the provisioner carry it out for the first time; the server that it was about."""
    order = Order(command, mark, new_request_id(), server_id, None)
    with recorded() as calls:
        taken = await perform(account.driver, order, VirtualClock())
    assert calls == list(command.calls()), command
    assert isinstance(taken, Taken)
    return str(taken.server_id)


async def test_each_command_asks_the_cloud_for_what_its_dry_run_says(account: Account) -> None:
    mark = account.new_mark()
    server_id = await asked(account, account.wanted(), mark, None)
    await account.settled(server_id, VmState.ACTIVE)
    for command, state in LIFE:
        assert await asked(account, command, mark, server_id) == server_id
        await account.settled(server_id, state)
    await asked(account, Delete(), mark, server_id)
    await account.gone(server_id)


async def test_an_import_looks_at_the_server_and_asks_for_nothing_else(account: Account) -> None:
    server_id = await account.active()
    unmarked = Import(server_id="00000000-0000-4000-8000-000000000000")
    with recorded() as calls, pytest.raises(Exception, match="has no server"):
        await perform(account.driver, _order(account, unmarked), VirtualClock())
    assert calls == list(unmarked.calls())
    taken = Import(server_id=server_id)
    with recorded() as calls, pytest.raises(Exception, match="is the VM"):
        await perform(account.driver, _order(account, taken), VirtualClock())
    assert calls == list(taken.calls())


async def test_what_is_looked_at_is_looked_at_by_sync_and_not_asked_for(account: Account) -> None:
    server_id = await account.active()
    with recorded() as calls:
        await perform(account.driver, _order(account, Sync(), server_id), VirtualClock())
        assert calls == []
        await account.driver.look(server_id)
    assert calls == list(Sync().calls())


def test_every_command_on_a_vm_is_tried_here() -> None:
    tried = {type(command) for command, _ in LIFE} | {Delete, Import, Sync}
    every = {body for body in VM_COMMANDS.carries if issubclass(body, Command)}
    left = {body.wire_name() for body in every - tried}
    assert left == {
        "vm.create.v1",  # by `account.wanted()`
        "operation.cancel.v1",
        "operation.retry.v1",
        "operation.abandon.v1",
    }


def _order(account: Account, command: VmCommand, server_id: str | None = None) -> Order:
    return Order(command, account.new_mark(), new_request_id(), server_id, None)
