"""Drift: what is changed behind Hostler's back is noticed, told, and followed by what was chosen."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.ids import new_id
from chassis.testing import VirtualClock, hear, said
from contracts.access.events import DriftChosen
from contracts.message import EVERYTHING, Body, Message
from contracts.operation.events import Failed
from contracts.operation.states import OperationError
from contracts.vm.commands import Start, Stop, Update
from contracts.vm.events import Changed, Difference, Drifted
from contracts.vm.states import VM_FIELDS, VmField, VmSnapshot, VmState
from services.gateway.context import Gateway
from services.gateway.turns import COMMANDS
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.world import (
    CATALOG,
    NOW,
    Clients,
    going,
    hear_catalog,
    make_active,
    told,
)

ADDRESS = {"network": "private", "address": "10.0.0.7", "version": 4, "kind": "fixed", "mac": None}


class Cloud:
    """One VM as somebody changes it in the cloud, and what sync says of that."""

    def __init__(self, gateway: Gateway, vm: dict[str, Any]) -> None:
        self.gateway = gateway
        self.id: str = vm["id"]
        self.version: int = vm["version"]
        self.is_now: dict[str, Any] = {
            "server_id": "s-1",
            "name": vm["name"],
            "state": vm["state"],
            "description": None,
            "metadata": {},
            "tags": [],
            "flavor": "m1.small",
            "image": "i-1",
            "addresses": [],
            "security_groups": [],
        }

    async def changes(
        self, operation: str | None = None, at: datetime = NOW, **fields: Any
    ) -> list[Message[Body]]:
        """The fields change, by themselves or with `operation` under way; what is said then."""
        old = {field: self.is_now[field] for field in fields}
        self.is_now |= fields
        self.version += 1
        await said(self.gateway.database)
        change = self.told(old, fields, operation).model_copy(update={"time": at})
        await hear(self.gateway.service, change)
        return await said(self.gateway.database)

    def told(
        self, old: dict[str, Any], new: dict[str, Any], operation: str | None = None
    ) -> Message[Body]:
        data = Changed(
            origin="hostler" if operation else "external",
            old=old,
            new=new,
            version=self.version,
            observed_at=NOW,
            vm=VmSnapshot.model_validate(self.is_now),
        )
        operation_id = UUID(operation) if operation else None
        return told(data, subject=self.id, operation_id=operation_id)


@pytest.fixture
async def cloud(gateway: Gateway, clients: Clients) -> Cloud:
    return Cloud(gateway, await make_active(gateway, clients.operator))


async def test_a_change_from_outside_is_told_once_and_kept(
    gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    [message] = await cloud.changes(name="mine")
    assert message.data == Drifted(
        version=2,
        observed_at=NOW,
        fields={"name": Difference(wanted="web-1", found="mine", choice="report")},
    )
    assert (message.subject, message.project_id) == (cloud.id, "demo")
    again = cloud.told({"name": "web-1"}, {"name": "mine"})
    await hear(gateway.service, again)
    assert await said(gateway.database) == []
    [shown] = await drift(clients, cloud)
    assert (shown["field"], shown["wanted"], shown["found"]) == ("name", "web-1", "mine")
    [listed] = (await clients.viewer.get("/v1/drift")).json()["items"]
    assert listed == shown


async def test_what_is_wanted_stays_the_same_however_often_it_changes(
    clients: Clients, cloud: Cloud, clock: VirtualClock
) -> None:
    await cloud.changes(name="mine")
    clock.advance(minutes=1)
    [message] = await cloud.changes(name="yours")
    assert fields(message)["name"].wanted == "web-1"
    [shown] = await drift(clients, cloud)
    assert (shown["wanted"], shown["found"], shown["version"]) == ("web-1", "yours", 3)
    assert shown["since"] == "2026-01-01T12:00:00Z"


async def test_what_is_as_wanted_again_drifts_no_longer(clients: Clients, cloud: Cloud) -> None:
    await cloud.changes(name="mine", metadata={"team": "shop"})
    assert await cloud.changes(name="web-1") == []
    assert [each["field"] for each in await drift(clients, cloud)] == ["metadata"]


async def test_missing_is_not_stopped(clients: Clients, cloud: Cloud) -> None:
    await choose(clients, cloud, {"*": "correct"})
    [message] = await cloud.changes(state="missing", addresses=[])
    assert fields(message) == {
        "state": Difference(wanted="active", found="missing", choice="report")
    }
    answer = await settle(clients, cloud, "state", "correct")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_vm_that_comes_back_drifts_no_longer(clients: Clients, cloud: Cloud) -> None:
    await cloud.changes(addresses=[ADDRESS])
    await cloud.changes(state="missing", addresses=[])
    await cloud.changes(state="active", addresses=[ADDRESS])
    assert [each["field"] for each in await drift(clients, cloud)] == ["addresses"]


async def test_a_state_that_nobody_asks_for_is_not_wanted_back(cloud: Cloud) -> None:
    await cloud.changes(operation=str(new_id()), state="error")
    assert await cloud.changes(state="active") == []


async def test_of_a_deleted_vm_only_that_it_is_deleted_is_left(
    clients: Clients, cloud: Cloud
) -> None:
    await cloud.changes(name="mine")
    await cloud.changes(state="deleted")
    assert [each["field"] for each in await drift(clients, cloud)] == ["state"]


async def test_what_is_to_be_corrected_is_commanded_in_the_same_transaction(
    gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    await choose(clients, cloud, {"*": "correct"})
    command, drifted = await cloud.changes(name="mine", tags=["x"], flavor="m1.big")
    assert command.data == Update(name="web-1", tags=[])
    assert (command.actor, command.subject) == ("hostler/drift", cloud.id)
    choices = {field: each.choice for field, each in fields(drifted).items()}
    assert choices == {"name": "correct", "tags": "correct", "flavor": "report"}
    shown = {each["field"]: each["links"]["operation"] for each in await drift(clients, cloud)}
    assert shown["name"] == shown["tags"] == f"/v1/operations/{command.operation_id}"
    assert shown["flavor"] is None
    await cloud.changes(operation=str(command.operation_id), name="web-1", tags=[])
    assert [each["field"] for each in await drift(clients, cloud)] == ["flavor"]


@pytest.mark.parametrize(
    ("wanted", "found", "command"), [("active", "stopped", Start()), ("stopped", "active", Stop())]
)
async def test_power_is_corrected(
    clients: Clients, cloud: Cloud, wanted: str, found: str, command: Body
) -> None:
    await cloud.changes(operation=str(new_id()), state=wanted)
    await choose(clients, cloud, {"state": "correct"})
    first, _ = await cloud.changes(state=found)
    assert first.data == command


async def test_a_fight_with_somebody_else_ends_in_a_report(
    clients: Clients, cloud: Cloud, clock: VirtualClock
) -> None:
    await choose(clients, cloud, {"state": "correct"})
    for _ in range(3):
        command, _ = await cloud.changes(state="stopped")
        assert command.data == Start()
        await cloud.changes(operation=str(command.operation_id), state="active")
        failed = Failed(command="vm.start.v1", error=error())
        about = told(failed, subject=cloud.id, operation_id=command.operation_id)
        await hear(cloud.gateway.service, about)
    [message] = await cloud.changes(state="stopped")
    assert fields(message)["state"].choice == "report"
    await cloud.changes(state="active")
    clock.advance(hours=1)
    command, _ = await cloud.changes(state="stopped")
    assert command.data == Start()


async def test_what_the_vm_does_not_take_now_is_reported(
    gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    await choose(clients, cloud, {"*": "correct"})
    await clients.operator.delete(f"/v1/vms/{cloud.id}")
    [message] = await cloud.changes(name="mine")
    assert fields(message)["name"].choice == "report"


async def test_a_name_that_hostler_would_not_take_is_reported(
    clients: Clients, cloud: Cloud
) -> None:
    await cloud.changes(operation=str(new_id()), name=" odd ")
    await choose(clients, cloud, {"*": "correct"})
    [message] = await cloud.changes(name="mine")
    assert fields(message)["name"].choice == "report"


async def test_what_is_accepted_is_told_and_wanted_from_then_on(
    clients: Clients, cloud: Cloud
) -> None:
    await choose(clients, cloud, {"*": "accept"})
    [message] = await cloud.changes(name="mine")
    assert fields(message)["name"].choice == "accept"
    assert await drift(clients, cloud) == []
    [message] = await cloud.changes(name="yours")
    assert fields(message)["name"].wanted == "mine"


async def test_what_is_ignored_is_neither_told_nor_kept(clients: Clients, cloud: Cloud) -> None:
    await cloud.changes(name="mine")
    await choose(clients, cloud, {"name": "ignore"})
    assert await cloud.changes(name="yours") == []
    assert await drift(clients, cloud) == []


async def test_the_sites_default_holds_where_nobody_chose(
    new_gateway: NewGateway, gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    other = await new_gateway(drift="correct", drift_corrections=1)
    await hear_catalog(other, *CATALOG)
    cloud.gateway = other
    command, _ = await cloud.changes(name="mine")
    assert command.data == Update(name="web-1")


async def test_no_description_is_an_empty_one(clients: Clients, cloud: Cloud) -> None:
    assert await cloud.changes(description="") == []
    await choose(clients, cloud, {"*": "correct"})
    command, _ = await cloud.changes(description="mine")
    assert command.data == Update(description="")


async def test_hostlers_own_commands_move_what_is_wanted(clients: Clients, cloud: Cloud) -> None:
    await cloud.changes(name="mine", state="stopped")
    update = (await clients.operator.patch(f"/v1/vms/{cloud.id}", json={"name": "new"})).json()
    await cloud.changes(operation=update["id"], name="new", state="paused")
    [shown] = await drift(clients, cloud)
    assert (shown["field"], shown["wanted"], shown["found"]) == ("state", "active", "paused")


REBOOTED: dict[str, Any] = {
    "name": "mine",
    "description": "mine",
    "metadata": {"team": "shop"},
    "tags": ["x"],
    "flavor": "m1.big",
    "security_groups": ["open"],
    "addresses": [ADDRESS],
    "state": "stopped",
}


@pytest.mark.parametrize("field", REBOOTED)
async def test_what_somebody_changes_while_hostler_does_something_else_is_drift(
    clients: Clients, cloud: Cloud, field: str
) -> None:
    reboot = (await clients.operator.post(f"/v1/vms/{cloud.id}/reboot", json={})).json()
    [message] = await cloud.changes(operation=reboot["id"], **{field: REBOOTED[field]})
    assert fields(message).keys() == {field}
    assert (message.actor, message.operation_id, message.request_id) == ("cloud", None, "")
    assert [each["field"] for each in await drift(clients, cloud)] == [field]


async def test_it_is_corrected_as_it_would_be_without_hostlers_command(
    clients: Clients, cloud: Cloud
) -> None:
    await choose(clients, cloud, {"metadata": "correct", "name": "accept", "tags": "ignore"})
    reboot = (await clients.operator.post(f"/v1/vms/{cloud.id}/reboot", json={})).json()
    command, drifted = await cloud.changes(
        operation=reboot["id"], state="error", metadata={"a": "b"}, name="mine", tags=["x"]
    )
    assert command.data == Update(metadata={})
    choices = {field: each.choice for field, each in fields(drifted).items()}
    assert choices == {"metadata": "correct", "name": "accept"}
    assert [each["field"] for each in await drift(clients, cloud)] == ["metadata"]


async def test_a_look_explains_nothing(clients: Clients, cloud: Cloud) -> None:
    look = (await clients.operator.post(f"/v1/vms/{cloud.id}/sync", json={})).json()
    [message] = await cloud.changes(operation=look["id"], state="stopped")
    assert fields(message).keys() == {"state"}


@pytest.mark.parametrize("state", ["missing", "deleted", "paused"])
async def test_a_stop_explains_that_the_vm_is_stopped_and_no_other_state(
    clients: Clients, cloud: Cloud, state: str
) -> None:
    stop = (await clients.operator.post(f"/v1/vms/{cloud.id}/stop", json={})).json()
    [message] = await cloud.changes(operation=stop["id"], state=state)
    assert fields(message)["state"].wanted == "active"


async def test_what_a_command_moves_is_no_drift(clients: Clients, cloud: Cloud) -> None:
    stop = (await clients.operator.post(f"/v1/vms/{cloud.id}/stop", json={})).json()
    assert await cloud.changes(operation=stop["id"], state="stopped") == []
    await hear(cloud.gateway.service, *going(stop))
    update: dict[str, Any] = {
        "name": "new",
        "tags": ["x"],
        "metadata": {"a": "b"},
        "description": "so",
    }
    asked = (await clients.operator.patch(f"/v1/vms/{cloud.id}", json=update)).json()
    assert await cloud.changes(operation=asked["id"], **update) == []
    await hear(cloud.gateway.service, *going(asked))
    delete = (await clients.operator.delete(f"/v1/vms/{cloud.id}")).json()
    assert await cloud.changes(operation=delete["id"], state="deleted", addresses=[]) == []
    assert await drift(clients, cloud) == []


@pytest.mark.parametrize(("minutes", "drifts"), [(1, []), (11, ["state"])])
async def test_the_late_effect_of_a_command_that_was_given_up_is_no_drift(
    clients: Clients, cloud: Cloud, minutes: int, drifts: list[str]
) -> None:
    stop = await given_up(clients, cloud, "stop")
    update = (await clients.operator.patch(f"/v1/vms/{cloud.id}", json={"name": "new"})).json()
    late = NOW + timedelta(minutes=minutes)
    await cloud.changes(operation=update["id"], at=late, state="stopped")
    assert [each["field"] for each in await drift(clients, cloud)] == drifts
    assert stop["command"] == "vm.stop.v1"


async def test_what_a_command_that_was_given_up_does_not_lead_to_is_drift(
    clients: Clients, cloud: Cloud
) -> None:
    await given_up(clients, cloud, "stop")
    await cloud.changes(state="missing", name="mine")
    assert [each["field"] for each in await drift(clients, cloud)] == ["name", "state"]


@given(
    verb=st.sampled_from(sorted(COMMANDS)),
    moved=st.dictionaries(st.sampled_from(VM_FIELDS), st.text(max_size=3), min_size=1),
    state=st.sampled_from(VmState),
)
def test_each_change_is_either_hostlers_or_others(
    verb: str, moved: dict[VmField, str], state: VmState
) -> None:
    """A field outside of what the command names is never its doing; its end always is."""
    change = COMMANDS[verb].change
    for field, value in moved.items():
        told = state.value if field == "state" else value
        assert not change.explains(field, told) or field in change.moves
    assert change.end is None or change.explains("state", change.end.value)
    whole = change.moves == EVERYTHING
    assert whole or not change.explains("state", VmState.MISSING.value)


async def test_what_spoils_a_correction_is_not_taken_for_it(clients: Clients, cloud: Cloud) -> None:
    await choose(clients, cloud, {"*": "correct"})
    command, _ = await cloud.changes(name="mine")
    await cloud.changes(operation=str(command.operation_id), name="yours")
    [shown] = await drift(clients, cloud)
    assert (shown["wanted"], shown["found"]) == ("web-1", "yours")


async def test_what_there_is_now_is_accepted(
    gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    await cloud.changes(name="mine")
    answer = await settle(clients, cloud, "name", "accept")
    assert (answer.status_code, answer.json()["items"]) == (200, [])
    [message] = await said(gateway.database)
    chosen = DriftChosen(vm_id=UUID(cloud.id), choices={"name": "accept"}, standing=False)
    assert (message.data, message.actor) == (chosen, "key:operator")
    [message] = await cloud.changes(name="yours")
    assert fields(message)["name"].wanted == "mine"


async def test_what_there_is_now_is_corrected_once_at_a_time(
    gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    await cloud.changes(name="mine")
    answer = await settle(clients, cloud, "name", "correct")
    command, chosen = await said(gateway.database)
    assert (command.data, command.actor) == (Update(name="web-1"), "key:operator")
    assert isinstance(chosen.data, DriftChosen)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/operations/{command.operation_id}"
    again = await settle(clients, cloud, "name", "correct")
    assert again.headers["Location"] == answer.headers["Location"]
    assert [each.type for each in await said(gateway.database)] == ["access.done.v1"]


async def test_what_does_not_drift_cannot_be_settled(clients: Clients, cloud: Cloud) -> None:
    for choice in ("accept", "correct"):
        answer = await settle(clients, cloud, "name", choice)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_standing_choices_are_audited_and_the_same_again_chooses_nothing(
    gateway: Gateway, clients: Clients, cloud: Cloud
) -> None:
    await said(gateway.database)
    wanted = {"state": "correct", "*": "report"}
    answer = await choose(clients, cloud, wanted)
    assert answer == {"items": [], "choices": wanted}
    [message] = await said(gateway.database)
    chosen = DriftChosen.model_validate(
        {"vm_id": cloud.id, "choices": wanted, "former": {}, "standing": True}
    )
    assert (message.data, message.project_id) == (chosen, "demo")
    await choose(clients, cloud, wanted)
    assert [each.type for each in await said(gateway.database)] == ["access.done.v1"]
    assert (await choose(clients, cloud, {}))["choices"] == {}


@pytest.mark.parametrize(
    "choices",
    [{"flavor": "correct"}, {"colour": "report"}, {"state": "forget"}, {"state": None}, []],
)
async def test_a_choice_that_cannot_be_is_refused(
    clients: Clients, cloud: Cloud, choices: object
) -> None:
    url = f"/v1/vms/{cloud.id}/drift"
    answer = await clients.operator.put(url, json={"choices": choices})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), answer.text


async def test_a_list_of_drift_has_pages_and_filters(clients: Clients, cloud: Cloud) -> None:
    await cloud.changes(name="mine", tags=["x"])
    page = (await clients.viewer.get("/v1/drift?limit=1")).json()
    rest = (await clients.viewer.get(page["links"]["next"])).json()
    found = [each["field"] for each in page["items"] + rest["items"]]
    assert (sorted(found), rest["links"]["next"]) == (["name", "tags"], None)
    only = (await clients.viewer.get(f"/v1/drift?vm_id={cloud.id}&field=tags")).json()
    assert [each["field"] for each in only["items"]] == ["tags"]


def fields(message: Message[Body]) -> dict[str, Difference]:
    assert isinstance(message.data, Drifted)
    return message.data.fields


def error(code: str = "cloud_fault") -> OperationError:
    return OperationError.model_validate({"code": code, "detail": "no"})


async def given_up(clients: Clients, cloud: Cloud, verb: str) -> dict[str, Any]:
    """An operation whose deadline passed before its effect was seen."""
    asked = (await clients.operator.post(f"/v1/vms/{cloud.id}/{verb}", json={})).json()
    failed = Failed(command=asked["command"], error=error("deadline"))
    about = told(failed, subject=cloud.id, operation_id=UUID(asked["id"]))
    await hear(cloud.gateway.service, about)
    return asked


async def drift(clients: Clients, cloud: Cloud) -> list[dict[str, Any]]:
    return (await clients.viewer.get(f"/v1/vms/{cloud.id}/drift")).json()["items"]


async def choose(clients: Clients, cloud: Cloud, choices: dict[str, str]) -> dict[str, Any]:
    url = f"/v1/vms/{cloud.id}/drift"
    answer = await clients.operator.put(url, json={"choices": choices})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def settle(clients: Clients, cloud: Cloud, field: str, choice: str) -> Any:
    url = f"/v1/vms/{cloud.id}/drift/{field}"
    return await clients.operator.post(url, json={"choice": choice})
