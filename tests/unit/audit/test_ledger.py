import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import suppress
from hashlib import sha256
from typing import cast

import pytest

from chassis.dead_letters import dead_letter
from chassis.ids import new_id
from chassis.migrations import migrate
from chassis.testing import VirtualClock, said
from contracts.access.events import Refused
from contracts.dead_letter import DeadLetter
from contracts.topics import TOPICS
from contracts.vm import commands
from contracts.vm.events import Changed
from contracts.vm.states import VmSnapshot, VmState
from services.audit.app import Audit
from services.audit.ledger import GENESIS, append
from tests.unit.audit.world import at, deliver, heard, ledger, made, message, verify


@pytest.fixture
async def second(audit: Audit, clock: VirtualClock) -> AsyncGenerator[Audit]:
    """Another audit on the same database."""
    built = made(audit.service.settings.database_url, clock)
    yield built
    await built.service.database.close()


async def test_audit_hears_every_topic_that_names_it(audit: Audit) -> None:
    named = {topic.name for topic in TOPICS if "audit" in topic.consumers}
    heard = {consumer.topic.name for consumer in audit.service.consumers}
    assert named - {"canary", "dead.replays"} <= heard
    assert "canary" in named


async def test_a_message_is_one_row_with_all_that_is_known_about_it(
    audit: Audit, clock: VirtualClock
) -> None:
    vm, operation = new_id(), new_id()
    told = message(vm=vm, operation=operation)
    clock.advance(seconds=3)
    await deliver(audit, at(told, partition=3))
    (row,) = await ledger(audit)
    assert (row["chain"], row["position"], row["previous_hash"]) == ("vm.events/3", 1, GENESIS)
    assert (row["message_id"], row["type"], row["time"]) == (
        told.id,
        "operation.started.v1",
        told.time,
    )
    assert (row["vm_id"], row["operation_id"], row["request_id"]) == (vm, operation, "req-1")
    assert (row["project_id"], row["account"], row["actor"]) == ("demo", "simulator", "key:test")
    assert (row["source"], row["subject"]) == ("hostler/test", str(vm))
    assert json.loads(row["data"])["command"] == "vm.stop.v1"
    assert row["recorded_at"] == clock()


async def test_each_partition_has_a_chain_of_its_own(audit: Audit) -> None:
    await deliver(audit, at(message(), 0), at(message(), 1), at(message(), 0))
    await deliver(audit, at(message(commands.Stop()), 0), at(message(commands.Stop()), 0))
    rows = await ledger(audit)
    assert [(row["chain"], row["position"]) for row in rows] == [
        ("vm.events/0", 1),
        ("vm.events/1", 1),
        ("vm.events/0", 2),
        ("vm.commands/0", 1),
        ("vm.commands/0", 2),
    ]
    assert rows[2]["previous_hash"] == rows[0]["hash"]
    assert rows[1]["previous_hash"] == rows[3]["previous_hash"] == GENESIS


async def test_a_message_delivered_or_published_twice_is_one_row(audit: Audit) -> None:
    told, other = message(), message()
    await deliver(audit, at(told, 1, 1), at(told, 1, 2))
    await deliver(audit, at(told, 1, 1), at(other, 1, 3), at(told, 1, 4))
    assert [row["message_id"] for row in await ledger(audit)] == [told.id, other.id]
    assert (await verify(audit)).valid


async def test_a_message_that_comes_again_on_another_partition_is_one_row(audit: Audit) -> None:
    told = message()
    await deliver(audit, at(told, 1))
    await deliver(audit, at(told, 2))
    assert len(await ledger(audit)) == 1
    assert (await verify(audit)).valid


async def test_killed_between_row_and_offset_nothing_is_missing_and_nothing_double(
    audit: Audit, second: Audit
) -> None:
    told = [message() for _ in range(6)]
    await deliver(audit, *[at(m, 0, n) for n, m in enumerate(told[:4])])
    # The offsets were not committed: whoever comes next gets the batch again, and more.
    await deliver(second, *[at(m, 0, n) for n, m in enumerate(told)])
    assert [row["message_id"] for row in await ledger(audit)] == [m.id for m in told]
    assert (await verify(audit)).rows == 6


async def test_killed_within_a_transaction_nothing_of_it_stays(audit: Audit) -> None:
    told = [message() for _ in range(3)]
    with suppress(KeyboardInterrupt):
        async with audit.service.database.session() as session:
            await append(session, [heard(m) for m in told[:2]], told[0].time)
            raise KeyboardInterrupt
    assert await ledger(audit) == []
    await deliver(audit, *[at(m) for m in told])
    verdict = await verify(audit)
    assert (verdict.valid, verdict.rows) == (True, 3)


async def test_a_batch_that_is_stored_in_several_goes_is_one_chain_per_partition(
    audit: Audit,
) -> None:
    told = [message() for _ in range(500)]
    records = [at(m, n % 2, n) for n, m in enumerate(told)]
    await deliver(audit, *records[:50])
    await deliver(audit, *records)
    rows = await ledger(audit)
    assert [row["message_id"] for row in rows] == [m.id for m in told]
    assert [row["position"] for row in rows if row["chain"] == "vm.events/1"] == [*range(1, 251)]
    assert (await verify(audit)).rows == 500


async def test_of_a_batch_that_breaks_off_when_much_of_it_was_sent_nothing_stays(
    audit: Audit,
) -> None:
    batch = [heard(message()) for _ in range(500)]
    odd, record = batch[450]
    batch[450] = odd._replace(source=cast("str", None)), record
    with pytest.raises(TypeError):
        async with audit.service.database.session() as session:
            await append(session, batch, VirtualClock().now)
    assert await ledger(audit) == []
    await deliver(audit, at(message()))
    assert (await verify(audit)).rows == 1


async def test_two_audits_that_get_the_same_and_other_partitions_keep_each_message_once(
    audit: Audit, second: Audit
) -> None:
    told = [message() for _ in range(60)]
    batches = [told[n : n + 10] for n in range(0, 60, 10)]
    for batch in batches:
        records = [at(m, n % 3) for n, m in enumerate(batch)]
        await asyncio.gather(deliver(audit, *records), deliver(second, *records))
    assert {row["message_id"] for row in await ledger(audit)} == {m.id for m in told}
    verdict = await verify(audit)
    assert (verdict.valid, verdict.chains, verdict.rows) == (True, 3, 60)


async def test_audits_on_other_partitions_do_not_wait_for_each_other(
    postgres_url: str, clock: VirtualClock
) -> None:
    audit = made(postgres_url, clock)
    database = audit.service.database
    await migrate(database)
    first, other = message(), message()
    async with database.session() as session:
        await append(session, [heard(first, 0)], clock())
        async with database.session() as beside:
            assert await append(beside, [heard(other, 1)], clock()) == 1
    assert (await verify(audit)).rows == 2
    await database.close()


async def test_user_data_is_kept_as_digest_and_length_only(audit: Audit) -> None:
    script = b"#!/bin/sh\necho password=hunter2\n"
    text = b64encode(script).decode()
    create = commands.Create(name="n", flavor="f", image="i", user_data=text)
    await deliver(audit, at(message(create)))
    (row,) = await ledger(audit)
    kept = json.loads(row["data"])["user_data"]
    assert kept == {"sha256": sha256(script).hexdigest(), "length": len(script)}
    assert all(text not in str(value) for value in row.values())


async def test_the_value_of_a_dead_letter_which_may_hold_secrets_is_kept_as_digest_only(
    audit: Audit,
) -> None:
    vm, secret = new_id(), b'{"user_data":"aHVudGVyMg=="'
    record = at(message(commands.Stop(), vm=vm))
    letter = dead_letter(record, "hostler.provisioner", "not JSON")
    letter = letter.model_copy(update={"value_base64": b64encode(secret).decode()})
    await deliver(audit, at(message(letter, vm=vm)))
    (row,) = await ledger(audit)
    assert row["vm_id"] == vm
    assert json.loads(row["data"])["value_base64"] == {
        "sha256": sha256(secret).hexdigest(),
        "length": len(secret),
    }


async def test_what_happened_at_the_door_belongs_to_no_vm(audit: Audit) -> None:
    refused = Refused(method="GET", path="/v1/audit", permission="audit.read")
    await deliver(audit, at(message(refused, vm=new_id())))
    (row,) = await ledger(audit)
    assert (row["vm_id"], row["type"]) == (None, "access.refused.v1")


async def test_texts_that_databases_dislike_are_kept_and_their_hash_holds(audit: Audit) -> None:
    name = "\x00 \u202e ' \" \\ é \U0001f600 ; DROP TABLE ledger; --"
    snapshot = VmSnapshot(name=name, state=VmState.ACTIVE)
    body = Changed(
        origin="external",
        old={"name": 0.1, "n": 2**70, "deep": [{"a": None}]},
        new={"name": name},
        version=1,
        observed_at=VirtualClock().now,
        vm=snapshot,
    )
    await deliver(audit, at(message(body, actor=name.replace("\x00", ""))))
    (row,) = await ledger(audit)
    data = json.loads(row["data"])
    assert data["new"] == {"name": name}
    assert data["old"] == {"name": 0.1, "n": 2**70, "deep": [{"a": None}]}
    assert (await verify(audit)).valid


async def test_poison_becomes_a_dead_letter_that_audit_keeps_itself(audit: Audit) -> None:
    told, good = message(), message()
    poison = at(told, 5, 77)
    poison.headers["ce_type"] = "vm.unheard-of.v9"
    await deliver(audit, poison, at(good, 5, 78))
    assert [row["message_id"] for row in await ledger(audit)] == [good.id]
    (letter,) = await said(audit.service.database)
    await deliver(audit, at(letter))
    kept = (await ledger(audit))[-1]
    assert (kept["chain"], kept["type"]) == ("dead.letters/0", "dead.letter.v1")
    assert isinstance(letter.data, DeadLetter)
    assert (letter.data.partition, letter.data.offset) == (5, 77)


async def test_one_message_that_cannot_be_kept_does_not_keep_the_others_out(audit: Audit) -> None:
    good = message()
    naive = message().model_copy(update={"time": VirtualClock().now.replace(tzinfo=None)})
    await deliver(audit, at(naive), at(good))
    assert [row["message_id"] for row in await ledger(audit)] == [good.id]
    (letter,) = await said(audit.service.database)
    assert isinstance(letter.data, DeadLetter)
    verdict = await verify(audit)
    assert (verdict.valid, verdict.rows) == (True, 1)
