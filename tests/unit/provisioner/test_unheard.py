"""Operations whose command is a dead letter, or never came: they end, and never run afterwards."""

from dataclasses import replace
from typing import Any

import pytest

from chassis.consumer import Consumer
from chassis.dead_letters import dead_letter
from chassis.ids import new_id
from chassis.testing import said
from chassis.wire import Record, encode
from contracts.dead_letter import DeadLetter, Replay
from contracts.errors import ErrorCode
from contracts.message import Body, Command, Message
from contracts.operation.commands import Abandon, Cancel
from contracts.operation.events import Cancelled, Failed, Retrying
from contracts.topics import VM_COMMANDS
from contracts.vm.commands import Stop
from tests.unit.provisioner.world import CREATE, PROJECT, Bench

CREATE_NAME = CREATE.wire_name()


def asked(bench: Bench, command: Command = CREATE) -> Message[Body]:
    """A command as the gateway says it, not delivered yet."""
    identity = new_id()
    return Message[Body](
        id=identity,
        source="hostler/gateway",
        time=bench.clock(),
        subject=str(bench.vm_id),
        project_id=PROJECT,
        account="demo",
        actor="key:ann",
        operation_id=identity,
        request_id="req-1",
        data=command,
    )


def commands(bench: Bench) -> Consumer:
    return next(each for each in bench.service.consumers if each.topic is VM_COMMANDS)


async def bury(bench: Bench, message: Message[Body], **changed: Any) -> Record:
    """Have the provisioner read the message's record, which is spoiled."""
    record = replace(encode(message), **({"value": b"{"} | changed))
    await commands(bench).consume([record])
    return record


async def test_a_buried_command_is_an_operation_that_waits_for_a_replay_and_says_so(
    bench: Bench,
) -> None:
    message = asked(bench)
    await bury(bench, message)
    await bench.work()
    row = await bench.row(message.id)
    assert (row.state, row.command, row.project_id) == ("queued", CREATE_NAME, PROJECT)
    assert await bench.heard() == ["dead.letter.v1", "operation.retrying.v1"]
    told: Retrying = bench.last(Retrying)
    assert (told.blocked_on, told.error.code) == ("dead_letter", ErrorCode.UNREADABLE)
    assert bench.log[-1].operation_id == message.id
    assert bench.cloud.calls == []


async def test_a_buried_command_ends_at_its_deadline(bench: Bench) -> None:
    message = asked(bench)
    await bury(bench, message)
    await bench.heard()
    bench.clock.advance(seconds=CREATE.deadline.total_seconds() + 1)
    await bench.work()
    assert await bench.heard() == ["operation.failed.v1"]
    told: Failed = bench.last(Failed)
    assert (told.command, told.error.code) == (CREATE_NAME, ErrorCode.UNREADABLE)


@pytest.mark.parametrize(
    "headers", [{"ce_type": "vm.resize.v9"}, {"ce_account": ""}, {"ce_requestid": "\N{SNOWMAN}"}]
)
async def test_of_any_type_it_ends(bench: Bench, headers: dict[str, str]) -> None:
    message = asked(bench)
    await bury(bench, message, headers=encode(message).headers | headers)
    bench.clock.advance(minutes=16)
    await bench.work()
    assert await bench.state(message.id) == "failed"


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_id": "x"},
        {"ce_subject": "x"},
        {"ce_time": "yesterday"},
        {"ce_time": "2026-01-01T00:00:00"},
        {"ce_type": "operation.cancel.v1"},
    ],
)
async def test_what_names_no_operation_is_a_dead_letter_only(
    bench: Bench, headers: dict[str, str]
) -> None:
    message = asked(bench)
    await bury(bench, message, headers=encode(message).headers | headers)
    assert await bench.heard() == ["dead.letter.v1"]
    assert await bench.rows() == []


async def replay(bench: Bench, whole: Record) -> None:
    letter: DeadLetter = dead_letter(whole, "hostler.provisioner.vm.commands", "it was poison")
    given = Message[Replay](
        id=new_id(),
        source="hostler/gateway",
        time=bench.clock(),
        subject=whole.key,
        actor="key:ann",
        data=Replay(letter_id=new_id(), letter=letter),
    )
    await commands(bench).consume_again(whole, given)


async def test_a_replay_before_the_deadline_is_carried_out_once(bench: Bench) -> None:
    message = asked(bench)
    await bury(bench, message)
    bench.clock.advance(seconds=40)
    await bench.work()
    for _ in range(2):
        await replay(bench, encode(message))
    await bench.later(31)
    assert bench.cloud.called("create") == 1
    bench.cloud.settle()
    await bench.see()
    row = await bench.row(message.id)
    assert (row.state, row.blocked_on, row.error) == ("succeeded", None, None)


async def test_a_replay_after_its_end_is_not_carried_out(bench: Bench) -> None:
    message = asked(bench)
    await bury(bench, message)
    await bench.abandon(message.id)
    assert await bench.state(message.id) == "failed"
    await replay(bench, encode(message))
    await bench.later(31)
    assert (await bench.state(message.id), bench.cloud.calls) == ("failed", [])


async def test_what_is_known_is_not_touched_by_a_dead_letter_of_its_name(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    message = asked(bench).model_copy(update={"id": operation_id})
    await bench.heard()
    await bury(bench, message)
    assert await bench.heard() == ["dead.letter.v1"]
    assert await bench.state(operation_id) == "waiting"


async def test_what_stands_behind_a_buried_command_goes_on_when_that_is_cancelled(
    bench: Bench,
) -> None:
    await bench.have_server()
    message = asked(bench, Stop())
    await bury(bench, message, headers=encode(message).headers | {"ce_type": "vm.stop.v9"})
    stop = await bench.ask(Stop())
    await bench.work()
    assert await bench.state(stop) == "queued"
    await bench.cancel(message.id)
    await bench.work()
    assert await bench.state(stop) == "waiting"


async def test_abandoning_what_the_provisioner_never_heard_of_ends_it_for_good(
    bench: Bench,
) -> None:
    message = asked(bench)
    abandon = Abandon(target=message.id, reason="it is gone", command=CREATE_NAME)
    await bench.tell(abandon, bench.vm_id)
    assert await bench.heard() == ["operation.failed.v1"]
    told: Failed = bench.last(Failed)
    assert (told.command, told.error.code) == (CREATE_NAME, ErrorCode.NEVER_ARRIVED)
    assert "it is gone" in told.error.detail
    assert bench.log[-1].operation_id == message.id
    await bench.deliver(message)
    await bench.work()
    assert (await bench.state(message.id), bench.cloud.calls) == ("failed", [])
    assert await bench.heard() == []


async def test_cancelling_what_the_provisioner_never_heard_of_ends_it_for_good(
    bench: Bench,
) -> None:
    message = asked(bench)
    await bench.tell(Cancel(target=message.id, command=CREATE_NAME), bench.vm_id)
    assert await bench.heard() == ["operation.cancelled.v1"]
    assert bench.last(Cancelled).command == CREATE_NAME
    await bench.deliver(message)
    await bench.work()
    assert (await bench.state(message.id), bench.cloud.calls) == ("cancelled", [])


async def test_a_retry_of_what_the_provisioner_never_heard_of_changes_nothing(
    bench: Bench,
) -> None:
    await bench.retry(new_id())
    assert (await said(bench.service.database), await bench.rows()) == ([], [])


async def test_the_operation_on_another_vm_is_not_ended_by_its_id(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    await bench.tell(Abandon(target=operation_id, command=CREATE_NAME), new_id())
    assert await bench.state(operation_id) == "queued"


async def test_of_what_was_not_trusted_nothing_is_kept(bench: Bench) -> None:
    key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    guarded = Bench(bench.url, command_keys=(key,))
    message = asked(guarded)
    await commands(guarded).consume([encode(message)])
    assert await guarded.heard() == ["dead.letter.v1", "command.refused.v1"]
    assert await guarded.rows() == []
    await guarded.close()
