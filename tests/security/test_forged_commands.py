"""Whoever writes on Kafka commands nothing: the provisioner does what the gateway has signed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from chassis.ids import new_id
from chassis.migrations import migrate
from chassis.seals import Signer
from chassis.testing import VirtualClock, hear, said, unsaid
from chassis.wire import SIGNATURE, Record, decode
from contracts.dead_letter import DeadLetter, Replay
from contracts.message import Body, Message
from contracts.operation.events import Failed
from contracts.topics import VM_COMMANDS
from contracts.trust.events import CommandRefused
from services.gateway.context import Gateway
from services.gateway.rebuild import retell
from services.provisioner.app import Provisioner, build
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.tables import Operation
from tests.fakes.driver import FakeCloud, FakeDriver
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, hear_catalog

SEED = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
GATEWAYS = Signer(b"secret-secret-secret-secret-secr")
Forge = Callable[[Record, Record], Record]


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    made = await new_gateway(command_key=SEED)
    await hear_catalog(made, *CATALOG)
    return made


@asynccontextmanager
async def provisioner(
    folder: Path, *keys: str, cloud: FakeCloud | None = None, clock: VirtualClock | None = None
) -> AsyncGenerator[Provisioner]:
    settings = ProvisionerSettings(
        database_url=f"sqlite+aiosqlite:///{folder}/provisioner.db", command_keys=keys
    )
    time = clock or VirtualClock()
    skies = cloud or FakeCloud(time)
    made = build(settings, clock=time, drivers=lambda name: FakeDriver(skies, name))
    try:
        await migrate(made.database)
        yield made
    finally:
        await made.database.close()


@pytest.fixture
async def believing(tmp_path: Path) -> AsyncGenerator[Provisioner]:
    async with provisioner(tmp_path, GATEWAYS.public_key) as made:
        yield made


async def create(gateway: Gateway, name: str = "web-1") -> Record:
    """The record of a create that was asked for over HTTP."""
    async with client(gateway, ADMIN_KEY) as http:
        answer = await http.post("/v1/vms", json={**CREATE, "name": name})
    assert answer.status_code == 202, answer.text
    [found] = [each for each in await unsaid(gateway.database) if each.topic == VM_COMMANDS.name]
    return found


async def take(service: Provisioner, *records: Record) -> None:
    [consumer] = [each for each in service.consumers if each.topic is VM_COMMANDS]
    await consumer.consume(list(records))


async def operations(service: Provisioner) -> set[UUID]:
    async with service.database.reading() as session:
        return set((await session.execute(select(Operation.id))).scalars())


async def test_what_the_gateway_asks_for_is_done(gateway: Gateway, believing: Provisioner) -> None:
    record = await create(gateway)
    await take(believing, record)
    assert await operations(believing) == {decode(record).id}


async def test_what_is_asked_of_operations_is_signed_too(gateway: Gateway) -> None:
    created = await create(gateway)
    async with client(gateway, ADMIN_KEY) as http:
        path = f"/v1/operations/{decode(created).operation_id}/cancel"
        assert (await http.post(path)).status_code == 202
    [cancel] = [each for each in await unsaid(gateway.database) if each.topic == VM_COMMANDS.name]
    assert decode(cancel).type == "operation.cancel.v1"
    assert cancel.headers[SIGNATURE].startswith(f"{GATEWAYS.key_id}.")


def with_header(name: str, value: str) -> Forge:
    return lambda record, _other: replace(record, headers=record.headers | {name: value})


FORGED: dict[str, tuple[Forge, str]] = {
    "another actor": (
        with_header("ce_actor", "key:root"),
        "its signature is not of what it says",
    ),
    "another project": (
        with_header("ce_projectid", "other"),
        "its signature is not of what it says",
    ),
    "another account": (
        with_header("ce_account", "elsewhere"),
        "its signature is not of what it says",
    ),
    "another operation": (
        with_header("ce_id", str(new_id())),
        "its signature is not of what it says",
    ),
    "another time": (
        with_header("ce_time", "2036-01-01T00:00:00Z"),
        "its signature is not of what it says",
    ),
    "another command": (
        lambda r, _: replace(r, headers=r.headers | {"ce_type": "vm.delete.v1"}, value=b"{}"),
        "its signature is not of what it says",
    ),
    "another VM": (
        lambda r, o: replace(r, key=o.key, headers=r.headers | {"ce_subject": o.key}),
        "its signature is not of what it says",
    ),
    "another body": (
        lambda r, o: replace(r, value=o.value),
        "its signature is not of what it says",
    ),
    "another's signature": (
        lambda r, o: replace(r, headers=r.headers | {SIGNATURE: o.headers[SIGNATURE]}),
        "its signature is not of what it says",
    ),
    "no signature": (
        lambda r, _: replace(r, headers={k: v for k, v in r.headers.items() if k != SIGNATURE}),
        "it is not signed",
    ),
    "a stranger's": (
        lambda r, _: replace(
            r,
            headers=r.headers | {SIGNATURE: Signer(b"m" * 32).seal(decode(r)).signature},
        ),
        "it is signed with a key that is not trusted here",
    ),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_command_is_a_dead_letter_with_an_audit_event_and_never_an_operation(
    gateway: Gateway, believing: Provisioner, name: str
) -> None:
    forge, reason = FORGED[name]
    good, other = await create(gateway), await create(gateway, "web-2")
    forged = forge(good, other)
    await take(believing, forged, other)
    assert await operations(believing) == {decode(other).id}, "the others go on"
    letter, told = [each.data for each in await said(believing.database)]
    assert isinstance(letter, DeadLetter)
    assert letter.reason == f"refused: {reason}"
    assert isinstance(told, CommandRefused)
    assert told.reason == reason
    assert (told.claimed_actor, told.claimed_id) == (
        forged.headers["ce_actor"],
        forged.headers["ce_id"],
    )


def replayed(letter: Message[Body]) -> Message[Body]:
    assert isinstance(letter.data, DeadLetter)
    return Message(
        id=new_id(),
        source="hostler/gateway",
        time=letter.time,
        subject=letter.subject,
        actor="key:ops",
        data=Replay(letter_id=letter.id, letter=letter.data),
    )


async def test_a_replayed_dead_letter_is_believed_as_its_command_was_signed(
    gateway: Gateway, tmp_path: Path
) -> None:
    """The provisioner was told the new key too late: what it refused can be tried again."""
    record = await create(gateway)
    async with provisioner(tmp_path, Signer(b"o" * 32).public_key) as late:
        await take(late, record)
        letter, _ = await said(late.database)
    async with provisioner(tmp_path, GATEWAYS.public_key) as told:
        await hear(told, replayed(letter))
        assert await operations(told) == {decode(record).id}


async def test_a_replay_is_no_way_in_for_a_forged_command(
    gateway: Gateway, believing: Provisioner
) -> None:
    forged = FORGED["another VM"][0](await create(gateway), await create(gateway, "web-2"))
    await take(believing, forged)
    letter, _ = await said(believing.database)
    await hear(believing, replayed(letter))
    assert await operations(believing) == set()
    assert [each.type for each in await said(believing.database)] == [
        "dead.letter.v1",
        "command.refused.v1",
    ]


async def test_the_same_signed_command_again_and_again_is_one_operation_without_another_call(
    gateway: Gateway, believing: Provisioner
) -> None:
    record = await create(gateway)
    for _ in range(3):
        await take(believing, record, record)
    assert await operations(believing) == {decode(record).id}
    assert await said(believing.database) == []


async def test_a_command_that_comes_after_its_deadline_is_ended_without_the_cloud(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A signature has no age: what waited too long on Kafka still gets its end."""
    record, cloud, clock = await create(gateway), FakeCloud(VirtualClock()), VirtualClock()
    async with provisioner(tmp_path, GATEWAYS.public_key, cloud=cloud, clock=clock) as late:
        clock.advance(days=2)
        await take(late, record)
        assert await late.worker.step() == 0
        [ended] = await said(late.database)
    assert isinstance(ended.data, Failed)
    assert (ended.operation_id, ended.data.error.code) == (decode(record).id, "deadline")
    assert cloud.calls == []


async def test_the_read_model_is_told_anew_from_signed_commands(gateway: Gateway) -> None:
    message = decode(await create(gateway))

    async def told() -> AsyncGenerator[Message[Body]]:
        yield message

    rebuilt = await retell(told())
    assert list(rebuilt.operations) == [message.operation_id]


async def test_without_a_key_of_its_own_the_gateways_follows_from_the_internal_secret(
    new_gateway: NewGateway,
) -> None:
    first, second = await new_gateway(), await new_gateway()
    await hear_catalog(first, *CATALOG)
    message = decode(await create(first))
    assert second.intake.sign(message).signature == message.signature
    assert message.signature
