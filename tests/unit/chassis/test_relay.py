"""The relay stops when it is told to; records go out in order per key."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from faststream.kafka import KafkaBroker

from chassis.database import Database
from chassis.ids import new_id
from chassis.kafka import BrokerPublisher, waves
from chassis.leases import NamedLease
from chassis.outbox import Relay, say
from chassis.testing import VirtualClock, unsaid
from chassis.wire import Record
from contracts.vm.commands import Update
from tests.chassis_toys import command, opened

VM = new_id()


class Nowhere:
    async def publish(self, records: Sequence[Record]) -> None:
        """Nothing is said in these tests."""


async def test_a_relay_told_to_stop_in_the_moment_that_something_is_said_stops(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        lease = NamedLease(database, "relay", VirtualClock(), timedelta(seconds=5))
        running = asyncio.create_task(Relay(database, Nowhere(), lease).run())
        await asyncio.sleep(0.1)
        database.said.set()
        running.cancel()
        await asyncio.wait([running], timeout=30)
        assert running.cancelled()


class Overtaken:
    """While it publishes, another relay takes over, finishes, and something new is said."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def publish(self, records: Sequence[Record]) -> None:
        await unsaid(self.database)
        async with self.database.session() as session:
            await say(session, command())


async def test_a_relay_that_was_overtaken_deletes_nothing_that_was_said_since(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        lease = NamedLease(database, "relay", VirtualClock(), timedelta(seconds=5))
        async with database.session() as session:
            await say(session, command())
        await Relay(database, Overtaken(database), lease).publish_some()
        assert len(await unsaid(database)) == 1


class Kept:
    """Kafka, which has what was published."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.refuses = False

    async def publish(self, records: Sequence[Record]) -> None:
        if self.refuses:
            raise ConnectionError("Kafka is gone")
        self.values += [record.value for record in records]


async def test_what_is_said_one_after_the_other_goes_out_once_each_and_nothing_is_left(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        kafka, lease = Kept(), NamedLease(database, "relay", VirtualClock(), timedelta(seconds=5))
        running = asyncio.create_task(Relay(database, kafka, lease).run())
        for count in range(1, 5):
            async with database.session() as session:
                await say(session, command(), command())
            async with asyncio.timeout(30):
                while len(kafka.values) < 2 * count:
                    await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(kafka.values) == 8
        assert await unsaid(database) == []


async def test_what_kafka_did_not_take_stays_and_goes_out_with_the_next_relay(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        kafka, lease = Kept(), NamedLease(database, "relay", VirtualClock(), timedelta(seconds=5))
        async with database.session() as session:
            await say(session, command())
        kafka.refuses = True
        with pytest.raises(ConnectionError):
            await Relay(database, kafka, lease).run()
        kafka.refuses = False
        assert await Relay(database, kafka, lease).publish_some() == 1
        assert await Relay(database, kafka, lease).publish_some() == 0
        assert len(kafka.values) == 1


def test_records_of_a_key_go_out_one_after_the_other_and_others_together() -> None:
    sent = [Record("t", key, {}, str(n).encode()) for n, key in enumerate("aababcb")]
    shown = [[(r.key, r.value) for r in wave] for wave in waves(sent)]
    assert shown == [
        [("a", b"0"), ("b", b"2"), ("c", b"5")],
        [("a", b"1"), ("b", b"4")],
        [("a", b"3"), ("b", b"6")],
    ]


async def test_what_is_behind_a_refused_record_of_its_key_is_not_sent() -> None:
    sent: list[bytes] = []

    async def publish(value: bytes, *_: object, **__: object) -> asyncio.Future[None]:
        sent.append(value)
        answer = asyncio.get_running_loop().create_future()
        if value == b"refused":
            answer.set_exception(ConnectionError("refused"))
        else:
            answer.set_result(None)
        return answer

    publisher = BrokerPublisher(cast("KafkaBroker", SimpleNamespace(publish=publish)))
    records = [Record("t", "vm", {}, b"refused"), Record("t", "vm", {}, b"behind")]
    with pytest.raises(ConnectionError):
        await publisher.publish(records)
    assert sent == [b"refused"]


class Paused:
    """A process that stands still after its first record, while another one relays."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock
        self.log: list[str] = []

    def relay(self, name: str) -> Relay:
        async def publish(value: bytes, *_: object, **__: object) -> asyncio.Future[None]:
            self.log.append(f"{name}: {json.loads(value)['name']}")
            if self.log == ["first: 1"]:
                await self._stand_still()
            answer = asyncio.get_running_loop().create_future()
            answer.set_result(None)
            return answer

        lease = NamedLease(self.database, "relay", self.clock, timedelta(seconds=5))
        broker = cast("KafkaBroker", SimpleNamespace(publish=publish))
        return Relay(self.database, BrokerPublisher(broker, lease.require), lease)

    async def say(self, *names: str) -> None:
        async with self.database.session() as session:
            await say(session, *(command(VM, Update(name=name)) for name in names))

    async def _stand_still(self) -> None:
        self.clock.advance(seconds=6)
        second = self.relay("second")
        await second.publish_some()
        await self.say("3")
        await second.publish_some()


async def test_a_relay_that_stood_still_past_its_lease_says_no_old_word_behind_a_newer_one(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        world = Paused(database, VirtualClock())
        await world.say("1", "2")
        running = asyncio.create_task(world.relay("first").run())
        await asyncio.sleep(1)
        assert not running.done(), "it waits for the lease"
        running.cancel()
        await asyncio.wait([running], timeout=30)
        assert world.log == ["first: 1", "second: 1", "second: 2", "second: 3"]
        assert await unsaid(database) == []


async def test_a_lease_is_renewed_between_waves_where_nobody_took_it(database_url: str) -> None:
    async with opened(database_url) as database:
        clock = VirtualClock()
        lease = NamedLease(database, "relay", clock, timedelta(seconds=5))
        for _ in range(3):
            await lease.require()
            clock.advance(seconds=6)


async def test_a_lease_that_took_longer_to_take_than_it_lasts_is_not_held(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        clock = VirtualClock()
        moments = iter([clock(), clock() + timedelta(seconds=6)])
        lease = NamedLease(database, "relay", lambda: next(moments), timedelta(seconds=5))
        assert not await lease.hold()
