"""Commands that come together share a transaction, and nothing else."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import HostlerError
from contracts.vm.commands import Create
from services.gateway.context import Gateway
from services.gateway.desk import Desk
from services.gateway.intake import Accepted, Asked
from tests.unit.gateway.world import CREATE, Clients, commanded, make_active


async def test_a_refusal_among_commands_that_come_together_touches_no_other(
    gateway: Gateway, clients: Clients
) -> None:
    bodies = [CREATE | {"name": f"vm-{n}", "tags": [f"t{n}"]} for n in range(12)]
    bodies[5] |= {"image": "nowhere"}
    headers = [{"Idempotency-Key": f"k-{n}"} for n in range(12)]
    both = zip(bodies, headers, strict=True)
    asked = [clients.operator.post("/v1/vms", json=body, headers=key) for body, key in both]
    answers = await asyncio.gather(*asked)
    assert [each.status_code for each in answers] == [202] * 5 + [400] + [202] * 6
    assert len(await commanded(gateway)) == 11
    shown = (await clients.viewer.get("/v1/vms?tag=t7")).json()["items"]
    assert [vm["operation"]["id"] for vm in shown] == [answers[7].json()["id"]]


async def test_commands_on_one_vm_that_come_together_see_each_other_in_order(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    url = f"/v1/vms/{vm['id']}"
    asked = [clients.operator.post(f"{url}/{verb}") for verb in ("stop", "stop", "start")]
    stop, again, start = await asyncio.gather(*asked)
    assert (stop.status_code, again.status_code, start.status_code) == (202, 409, 202)
    assert (start.json()["waits_for"], start.json()["position"]) == (stop.json()["id"], 1)


async def test_a_bug_in_one_command_fails_that_one_alone(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_many = gateway.intake.accept_many

    async def buggy(session: AsyncSession, many: Sequence[Asked]) -> list[Accepted | HostlerError]:
        outcomes = await accept_many(session, many)
        if any(isinstance(a.command, Create) and a.command.name == "bug" for a in many):
            raise RuntimeError("a bug")
        return outcomes

    monkeypatch.setattr(gateway.intake, "accept_many", buggy)
    names = ["a", "b", "bug", "c"]
    posted = [clients.operator.post("/v1/vms", json=CREATE | {"name": name}) for name in names]
    answers = await asyncio.gather(*posted, return_exceptions=True)
    taken = [isinstance(a, httpx.Response) and a.status_code == 202 for a in answers]
    assert taken == [True, True, False, True]
    assert len(await commanded(gateway)) == 3


async def test_commands_that_come_while_others_are_taken_share_the_next_transaction(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, accept_many = gateway.desk.accept, gateway.intake.accept_many
    asked, all_are_here, together = 0, asyncio.Event(), list[int]()

    async def counted(one: Asked) -> Accepted:
        nonlocal asked
        asked += 1
        if asked == 30:
            all_are_here.set()
        return await accept(one)

    async def slow(session: AsyncSession, many: Sequence[Asked]) -> list[Accepted | HostlerError]:
        together.append(len(many))
        await all_are_here.wait()
        return await accept_many(session, many)

    monkeypatch.setattr(gateway.desk, "accept", counted)
    monkeypatch.setattr(gateway.intake, "accept_many", slow)
    answers = await asyncio.gather(
        *[clients.operator.post("/v1/vms", json=CREATE | {"name": f"vm-{n}"}) for n in range(30)]
    )
    assert {each.status_code for each in answers} == {202}
    assert sum(together) == len(await commanded(gateway)) == 30
    assert len(together) <= 3


async def test_who_comes_alone_waits_for_no_pace_and_who_follows_several_does(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Desk(gateway.intake, gateway.database, pace=3600)
    monkeypatch.setattr(gateway.desk, "accept", patient.accept)

    async def create(name: str) -> int:
        answer = await clients.operator.post("/v1/vms", json=CREATE | {"name": name})
        return answer.status_code

    async with asyncio.timeout(60):
        assert [await create(f"alone-{n}") for n in range(3)] == [202] * 3
        assert await asyncio.gather(*[create(f"together-{n}") for n in range(3)]) == [202] * 3
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(create("after"), 0.5)
