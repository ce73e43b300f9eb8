"""What was sealed for a VM is opened right before its server is asked for, and nowhere else."""

import base64
from collections.abc import AsyncIterator
from typing import ClassVar
from uuid import UUID

import pytest

from chassis.ids import new_id
from chassis.sealing import PrivateKeys
from contracts.operation.states import OperationState
from contracts.vm.commands import Create
from contracts.vm.fields import Sealed
from drivers.base import Issued, Mark
from services.provisioner.rewrap import rewrap
from tests.fakes.driver import FakeDriver
from tests.unit.provisioner.world import CREATE, Bench

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PLAIN = b"#cloud-config\npassword: hunter2"


class Recording(FakeDriver):
    """Keeps what it was asked to create."""

    created: ClassVar[list[Create]] = []

    async def create(self, mark: Mark, wanted: Create, request_id: str) -> Issued:
        self.created.append(wanted)
        return await super().create(mark, wanted, request_id)


def written(*keys: bytes) -> str:
    return ",".join(base64.b64encode(each).decode() for each in keys)


def sealed(vm_id: UUID, operation_id: UUID, key: bytes = NEW) -> Create:
    box = PrivateKeys([key]).public[0].seal(PLAIN, Sealed.binding(vm_id, operation_id))
    held = Sealed(box=box, length=len(PLAIN), digest="0" * 64)
    return CREATE.model_copy(update={"user_data": None, "sealed_user_data": held})


async def asked(bench: Bench, command: Create, operation_id: UUID) -> UUID:
    """Have the provisioner hear a create whose id is known beforehand."""
    message = await bench.tell(Create(name="x", flavor="f", image="i"), new_id())
    told = message.model_copy(
        update={"id": operation_id, "subject": str(bench.vm_id), "data": command}
    )
    await bench.deliver(told)
    return operation_id


@pytest.fixture
async def bench(sqlite_url: str) -> AsyncIterator[Bench]:
    made = Bench(sqlite_url, sealing_keys=written(NEW, OLD))
    made.driver = Recording
    yield made
    await made.close()


async def test_the_cloud_gets_what_was_sealed_and_the_database_only_the_box(bench: Bench) -> None:
    operation_id = new_id()
    await asked(bench, sealed(bench.vm_id, operation_id), operation_id)
    row = await bench.row(operation_id)
    assert "hunter2" not in str(row.data)
    assert base64.b64encode(PLAIN).decode() not in str(row.data)
    await bench.work()
    wanted = Recording.created[-1]
    assert base64.b64decode(wanted.user_data or "") == PLAIN


async def test_a_box_that_was_moved_to_another_vm_is_refused(bench: Bench) -> None:
    operation_id = new_id()
    await asked(bench, sealed(new_id(), operation_id), operation_id)
    await bench.work()
    row = await bench.row(operation_id)
    assert row.state == OperationState.FAILED
    assert row.reason is not None
    assert row.reason.code == "invalid"


async def test_a_missing_key_is_waited_for_and_the_operation_goes_on_once_it_is_back(
    sqlite_url: str,
) -> None:
    bench = Bench(sqlite_url, sealing_keys=written(OLD))
    try:
        operation_id = new_id()
        await asked(bench, sealed(bench.vm_id, operation_id), operation_id)
        await bench.work()
        row = await bench.row(operation_id)
        assert row.reason is not None
        assert (row.ended_at, row.reason.code) == (None, "unavailable")
        bench.settings["sealing_keys"] = written(NEW, OLD)
        await bench.kill()
        await bench.later(60)
        assert (await bench.row(operation_id)).called_at is not None
    finally:
        await bench.close()


async def test_rewrapping_seals_open_operations_to_the_newest_key_while_they_wait(
    bench: Bench,
) -> None:
    operation_id = new_id()
    await asked(bench, sealed(bench.vm_id, operation_id, OLD), operation_id)
    keys = PrivateKeys([NEW, OLD])
    assert await rewrap(bench.service.database, keys) == 1
    assert await rewrap(bench.service.database, keys) == 0
    box: str = (await bench.row(operation_id)).data["sealed_user_data"]["box"]
    opened = PrivateKeys([NEW]).open(box, Sealed.binding(bench.vm_id, operation_id))
    assert opened == PLAIN


async def test_what_comes_in_the_clear_as_it_once_did_works(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    await bench.work()
    assert (await bench.row(operation_id)).called_at is not None
    assert Recording.created[-1].user_data == CREATE.user_data
