"""Operations that do not get on: seen, and steered by operators."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from chassis.testing import VirtualClock, hear
from contracts.errors import ErrorCode
from contracts.message import Body, Message
from contracts.operation.commands import Abandon, OperationCommand, Retry
from contracts.operation.events import Failed, Issued, Retrying, Started
from contracts.operation.states import OperationError
from services.gateway.context import Gateway
from services.gateway.steering import STEERS
from tests.unit.gateway.world import Clients, commanded, create, make_active, told

QUOTA = OperationError(code=ErrorCode.QUOTA, detail="Quota exceeded for cores.")
BUSY = OperationError(code=ErrorCode.CLOUD_BUSY, detail="Too many requests.")
CREATE_STUCK_AFTER = 5


async def test_an_operation_is_stuck_once_it_takes_longer_than_its_command_should(
    clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    assert operation["stuck"] is None
    assert await stuck(clients) == []
    since = clock.advance(minutes=CREATE_STUCK_AFTER)
    [found] = await stuck(clients)
    assert (found["id"], found["stuck"]["reason"]) == (operation["id"], "slow")
    assert datetime.fromisoformat(found["stuck"]["since"]) == since


async def test_only_the_callers_own_stuck_operations_are_listed(
    clients: Clients, clock: VirtualClock
) -> None:
    await create(clients.operator)
    clock.advance(minutes=CREATE_STUCK_AFTER)
    assert (await clients.stranger.get("/v1/operations?stuck=true")).json()["items"] == []


async def test_what_is_blocked_on_quota_is_stuck_at_once(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    clock.advance(seconds=1)
    blocked = retrying(clock, attempt=1, error=QUOTA, blocked_on="quota")
    await hear(gateway.service, about(operation, clock, blocked))
    [found] = await stuck(clients)
    assert found["stuck"]["reason"] == "quota"


async def test_after_three_attempts_it_is_stuck_by_its_last_error(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    for attempt in (1, 2):
        busy = retrying(clock, attempt=attempt, error=BUSY)
        await hear(gateway.service, about(operation, clock, busy))
        assert await stuck(clients) == []
    await hear(gateway.service, about(operation, clock, retrying(clock, attempt=3, error=BUSY)))
    [found] = await stuck(clients)
    assert found["stuck"]["reason"] == "cloud_busy"


async def test_once_the_cloud_takes_it_after_all_it_is_stuck_no_longer(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    await hear(gateway.service, about(operation, clock, retrying(clock, attempt=3, error=BUSY)))
    issued = Issued(command="vm.create.v1", called_at=clock())
    await hear(gateway.service, about(operation, clock, issued))
    assert await stuck(clients) == []
    clock.advance(minutes=CREATE_STUCK_AFTER)
    [found] = await stuck(clients)
    assert found["stuck"]["reason"] == "slow"


async def test_what_waits_behind_another_operation_says_so_and_counts_from_its_start(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    vm = await make_active(gateway, clients.operator)
    await clients.operator.post(f"/v1/vms/{vm['id']}/stop")
    start = (await clients.operator.post(f"/v1/vms/{vm['id']}/start")).json()
    clock.advance(minutes=2)
    reasons = {each["id"]: each["stuck"]["reason"] for each in await stuck(clients)}
    assert reasons.pop(start["id"]) == "waiting_its_turn"
    assert list(reasons.values()) == ["slow"]
    begun = Started(command="vm.start.v1", attempt=1)
    await hear(gateway.service, about(start, clock, begun))
    assert start["id"] not in [each["id"] for each in await stuck(clients)]


async def test_what_has_ended_is_not_stuck(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    clock.advance(minutes=CREATE_STUCK_AFTER)
    failed = Failed(command="vm.create.v1", error=QUOTA)
    await hear(gateway.service, about(operation, clock, failed))
    assert await stuck(clients) == []
    shown = (await clients.viewer.get(f"/v1/operations/{operation['id']}")).json()
    assert shown["stuck"] is None


async def test_a_retry_that_moves_the_deadline_begins_anew(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    await hear(gateway.service, about(operation, clock, retrying(clock, attempt=4, error=BUSY)))
    later = clock.advance(minutes=30)
    moved = retrying(clock, attempt=4, error=BUSY, deadline_at=later)
    await hear(gateway.service, about(operation, clock, moved))
    shown = (await clients.viewer.get(f"/v1/operations/{operation['id']}")).json()
    assert shown["stuck"] is None
    assert datetime.fromisoformat(shown["deadline_at"]) == later


async def test_a_retry_is_said_once_until_it_was_carried_out_and_then_again(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    await commanded(gateway)
    url = f"/v1/operations/{operation['id']}/retry"
    assert (await clients.operator.post(url)).status_code == 202
    answer = await clients.operator.post(url)
    assert answer.status_code == 202
    assert [step["name"] for step in answer.json()["steps"]] == ["accepted", "retry_asked"]
    [message] = await commanded(gateway)
    assert message.data == Retry(target=UUID(operation["id"]), command="vm.create.v1")
    assert message.operation_id == UUID(operation["id"])
    assert (message.subject, message.actor) == (operation["vm_id"], "key:operator")
    started = Started(command="vm.create.v1", attempt=2)
    await hear(gateway.service, about(operation, clock, started))
    await clients.operator.post(url)
    assert len(await commanded(gateway)) == 1


async def test_a_cancel_is_said_again_once_the_operation_has_moved_and_after_a_while(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    """The first may have come to nothing: what is asked anew is never just answered."""
    operation = await create(clients.operator)
    await commanded(gateway)
    url = f"/v1/operations/{operation['id']}/cancel"
    for expected in (1, 0):
        assert (await clients.operator.post(url)).status_code == 202
        assert len(await commanded(gateway)) == expected
    await hear(gateway.service, about(operation, clock, retrying(clock, attempt=1, error=BUSY)))
    assert (await clients.operator.post(url)).status_code == 202
    assert len(await commanded(gateway)) == 1
    clock.advance(seconds=31)
    assert (await clients.operator.post(url)).status_code == 202
    assert len(await commanded(gateway)) == 1


async def test_a_command_that_is_a_dead_letter_is_stuck_and_says_why(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    unreadable = OperationError(code=ErrorCode.UNREADABLE, detail="It is poison.")
    buried = retrying(clock, attempt=0, error=unreadable, blocked_on="dead_letter")
    await hear(gateway.service, about(operation, clock, buried))
    [found] = await stuck(clients)
    assert found["stuck"]["reason"] == "dead_letter"
    assert found["error"]["code"] == "unreadable"
    assert found["links"]["abandon"]


async def test_what_is_asked_of_an_operation_names_its_command(
    gateway: Gateway, clients: Clients
) -> None:
    """For a provisioner that never heard of it."""
    operation = await create(clients.operator)
    await commanded(gateway)
    await clients.operator.post(f"/v1/operations/{operation['id']}/abandon")
    [message] = await commanded(gateway)
    assert isinstance(message.data, Abandon)
    assert message.data.command == "vm.create.v1"


async def test_an_operation_is_given_up_with_a_reason(gateway: Gateway, clients: Clients) -> None:
    operation = await create(clients.operator)
    await commanded(gateway)
    url = f"/v1/operations/{operation['id']}/abandon"
    assert (await clients.operator.post(url, json={"reason": "fire"})).status_code == 202
    answer = await clients.operator.post(url, json={"reason": "and once more"})
    assert answer.status_code == 202
    assert answer.json()["steps"][-1]["detail"] == "key:operator: fire"
    [message] = await commanded(gateway)
    target = UUID(operation["id"])
    assert message.data == Abandon(target=target, reason="fire", command="vm.create.v1")


@pytest.mark.parametrize("kind", STEERS)
async def test_an_operation_that_has_ended_is_not_steered_any_more(
    gateway: Gateway, clients: Clients, clock: VirtualClock, kind: type[OperationCommand]
) -> None:
    operation = await create(clients.operator)
    assert operation["links"][kind.verb()] == f"/v1/operations/{operation['id']}/{kind.verb()}"
    failed = Failed(command="vm.create.v1", error=QUOTA)
    await hear(gateway.service, about(operation, clock, failed))
    await commanded(gateway)
    answer = await clients.operator.post(f"/v1/operations/{operation['id']}/{kind.verb()}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert await commanded(gateway) == []
    shown = (await clients.viewer.get(f"/v1/operations/{operation['id']}")).json()
    assert shown["links"][kind.verb()] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"target": "01993b1c-58a5-7c58-8a52-000000000001"}, 400, "invalid"),
        ({"command": "vm.stop.v1"}, 400, "invalid"),
        ({"reason": "x" * 256}, 400, "invalid"),
        ({"why": "so"}, 400, "invalid"),
        (["reason"], 400, "invalid"),
        (b'{"reason": "a", "reason": "b"}', 400, "invalid"),
        (b'{"reason": "\\ud800"}', 400, "bad_request"),
        (b"[" * 10_000, 400, "bad_request"),
        (b"{", 400, "bad_request"),
    ],
)
async def test_a_wrong_body_is_refused(
    gateway: Gateway, clients: Clients, body: Any, status: int, code: str
) -> None:
    operation = await create(clients.operator)
    await commanded(gateway)
    url = f"/v1/operations/{operation['id']}/abandon"
    json_type = {"Content-Type": "application/json"}
    sent: dict[str, Any] = (
        {"content": body, "headers": json_type} if isinstance(body, bytes) else {"json": body}
    )
    answer = await clients.operator.post(url, **sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert await commanded(gateway) == []


async def stuck(clients: Clients) -> list[dict[str, Any]]:
    return (await clients.viewer.get("/v1/operations?stuck=true")).json()["items"]


def retrying(clock: VirtualClock, **fields: Any) -> Retrying:
    said_so = {"command": "vm.create.v1", "due_at": clock()}
    return Retrying.model_validate(said_so | fields)


def about(operation: dict[str, str], clock: VirtualClock, data: Body) -> Message[Body]:
    found = UUID(operation["id"])
    return told(data, subject=operation["vm_id"], operation_id=found, time=clock())
