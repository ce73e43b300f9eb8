"""Every command, killed at every step and with every step repeated: it ends as if nothing had been."""

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from sqlalchemy import event

from chassis.ids import new_id
from chassis.testing import Steps, crash_at_every_step, hear, repeat_every_step, unsaid
from contracts.message import Body, Command, Message
from contracts.operation.commands import Abandon, Cancel, Retry
from contracts.operation.states import FINAL
from contracts.vm.commands import (
    Create,
    Delete,
    Import,
    Pause,
    Reboot,
    Start,
    Stop,
    Sync,
    Unpause,
    Update,
)
from contracts.vm.states import VmSnapshot, VmState
from services.provisioner.app import Provisioner
from tests.fakes.driver import LOST, QUOTA, FakeCloud
from tests.unit.provisioner.world import CREATE, Bench

pytestmark = pytest.mark.timeout(300)
T = TypeVar("T")
TAKEN_OVER_SECONDS = 31
ENDS = {"operation.succeeded.v1", "operation.failed.v1", "operation.cancelled.v1"}


class SteppedCloud(FakeCloud):
    """Each call is a step; that it is made twice comes of an answer that is lost after the effect."""

    steps = Steps()

    async def answer(self, method: str, effect: Callable[[], T]) -> T:
        call = partial(super().answer, method, effect)
        return await self.steps.take(f"cloud {method}", call, _lost)


async def _lost() -> T:  # pyright: ignore[reportInvalidTypeVarUse] - it never returns
    raise LOST


class SteppedBench(Bench):
    """A process that is killed is followed by another one, which takes over when leases ran out."""

    def __init__(self, url: str) -> None:
        self.steps = Steps()
        self.taken = ""
        super().__init__(url, times=1)
        self.cloud = SteppedCloud(self.clock)

    def begin(self, steps: Steps) -> None:
        """From now on what happens is a step."""
        self.steps = SteppedCloud.steps = steps

    def another(self) -> Provisioner:
        made = super().another()
        session, written = made.database.session, [False]

        def note(*args: object) -> None:
            written[0] |= str(args[2]).startswith(("INSERT", "UPDATE", "DELETE"))

        def wrote() -> bool:
            was, written[0] = written[0], False
            return was

        event.listen(made.database.engine.sync_engine, "before_cursor_execute", note)
        made.database.session = lambda: self.steps.committing(session(), wrote)
        return made

    async def take_over(self) -> None:
        await self.kill()
        self.clock.advance(seconds=TAKEN_OVER_SECONDS)

    def snapshot(self) -> VmSnapshot:
        """A server that is taken in carries no mark: the VM is what the command said."""
        return self.cloud.servers[self.taken].snapshot if self.taken else super().snapshot()

    async def work(self) -> int:
        return await self.steps.outlive(super().work, self.take_over)

    async def deliver(self, message: Message[Body]) -> None:
        async def once() -> None:
            await hear(self.service, message)

        take = partial(self.steps.take, message.type, once, once)
        await self.steps.outlive(take, self.take_over)

    async def finish(self, operation_id: UUID) -> None:
        """The cloud and sync do their part until it has ended."""
        for _ in range(8):
            if await self.state(operation_id) in FINAL:
                break
            await self.later(40)
            self.cloud.settle()
            await self.see()

    async def end(self, operation_id: UUID) -> object:
        """How it ended: the operation, the cloud, and what was said of it, without what is chance."""
        self.begin(Steps())
        row = await self.row(operation_id)
        records = await unsaid(self.service.database)
        types = [record.headers["ce_type"] for record in records]
        servers = [(server.state, server.snapshot.name) for server in self.cloud.alive()]
        happened = [each for each in types if each in ENDS or each.startswith("vm.")]
        return row.state, row.reason and row.reason.code, servers, happened


Play = Callable[[SteppedBench, Steps], Awaitable[UUID]]


def _on(command: Command, state: VmState) -> Play:
    """A command on a VM that is there."""

    async def play(bench: SteppedBench, steps: Steps) -> UUID:
        await bench.have_server(state)
        bench.begin(steps)
        operation_id = await bench.ask(command)
        await bench.work()
        return operation_id

    return play


async def _create(bench: SteppedBench, steps: Steps) -> UUID:
    bench.begin(steps)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    return operation_id


async def _create_that_fails(bench: SteppedBench, steps: Steps) -> UUID:
    bench.begin(steps)
    operation_id = await bench.ask(CREATE.model_copy(update={"on_failure": "delete"}))
    await bench.later(40)
    for server_id in [i for i, server in bench.cloud.servers.items() if server.to is not None]:
        bench.cloud.fail(server_id, "No valid host was found.")
    await bench.see()
    return operation_id


async def _cancel(bench: SteppedBench, steps: Steps) -> UUID:
    bench.begin(steps)
    operation_id = await bench.ask(CREATE)
    await bench.later(40)
    await bench.tell(Cancel(target=operation_id), bench.vm_id, operation_id)
    await bench.work()
    return operation_id


async def _retry(bench: SteppedBench, steps: Steps) -> UUID:
    bench.cloud.order("create", QUOTA)
    bench.begin(steps)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.tell(Retry(target=operation_id), bench.vm_id, operation_id)
    await bench.work()
    return operation_id


async def _abandon(bench: SteppedBench, steps: Steps) -> UUID:
    await bench.have_server()
    bench.begin(steps)
    operation_id = await bench.ask(Stop())
    await bench.later(40)
    await bench.tell(Abandon(target=operation_id), bench.vm_id, operation_id)
    await bench.work()
    return operation_id


async def _import(bench: SteppedBench, steps: Steps) -> UUID:
    bench.taken = bench.cloud.add("stranger")
    bench.begin(steps)
    operation_id = await bench.ask(Import(server_id=bench.taken))
    await bench.work()
    return operation_id


PLAYS: dict[type[Command], list[Play]] = {
    Create: [_create, _create_that_fails],
    Delete: [_on(Delete(), VmState.ACTIVE)],
    Update: [_on(Update(name="web-2"), VmState.ACTIVE)],
    Start: [_on(Start(), VmState.STOPPED)],
    Stop: [_on(Stop(), VmState.ACTIVE)],
    Reboot: [_on(Reboot(), VmState.ACTIVE)],
    Pause: [_on(Pause(), VmState.ACTIVE)],
    Unpause: [_on(Unpause(), VmState.PAUSED)],
    Sync: [_on(Sync(), VmState.ACTIVE)],
    Import: [_import],
    Cancel: [_cancel],
    Retry: [_retry],
    Abandon: [_abandon],
}
"""Every command has at least one: tests/architecture looks."""
CASES = [
    pytest.param(play, id=f"{command.title()}-{number}")
    for command, plays in PLAYS.items()
    for number, play in enumerate(plays)
]


@asynccontextmanager
async def _opened(made: Path, folder: Path) -> AsyncGenerator[SteppedBench]:
    # A name for each: a write-ahead log that one that was killed left would be replayed by the next.
    mine = shutil.copy(made, folder / f"{new_id()}.db")
    bench = SteppedBench(f"sqlite+aiosqlite:///{mine}")
    try:
        yield bench
    finally:
        await bench.close()


async def _scenario(made: Path, folder: Path, play: Play, steps: Steps) -> object:
    async with _opened(made, folder) as bench:
        operation_id = await play(bench, steps)
        await bench.finish(operation_id)
        return await bench.end(operation_id)


@pytest.mark.parametrize("play", CASES)
async def test_killed_at_any_step_it_ends_the_same(
    made_sqlite: Path, tmp_path: Path, play: Play
) -> None:
    await crash_at_every_step(partial(_scenario, made_sqlite, tmp_path, play))


@pytest.mark.parametrize("play", CASES)
async def test_with_any_step_repeated_it_ends_the_same(
    made_sqlite: Path, tmp_path: Path, play: Play
) -> None:
    await repeat_every_step(partial(_scenario, made_sqlite, tmp_path, play))
