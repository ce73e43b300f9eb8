"""What counts as a difference, and which server is the VM."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.vm.states import Address, VmSnapshot, VmState
from drivers.base import Seen
from services.sync.drift import canonical, choose, differences, digest, ended, pictured

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VM = VmSnapshot(server_id="a", name="web", state=VmState.ACTIVE, created_at=NOW, updated_at=NOW)


def seen(server_id: str, age: int = 0, state: VmState = VmState.ACTIVE) -> Seen:
    created = NOW - timedelta(hours=age)
    update = {"server_id": server_id, "created_at": created, "state": state}
    return Seen(VM.model_copy(update=update), None)


def test_of_an_unknown_vm_everything_is_new() -> None:
    old, new = differences(None, VM)
    assert old == {}
    assert (new["name"], new["state"], new["created_at"]) == (
        "web",
        "active",
        "2026-01-01T00:00:00Z",
    )


def test_only_fields_that_differ_are_told_as_json_values() -> None:
    address = Address(network="private", address="10.0.0.7", version=4)
    after = VM.model_copy(update={"task": "rebooting", "addresses": (address,)})
    old, new = differences(VM, after)
    assert old == {"task": None, "addresses": []}
    assert new == {"task": "rebooting", "addresses": [address.model_dump()]}


def test_a_later_update_time_alone_is_nothing_to_tell() -> None:
    assert differences(VM, VM.model_copy(update={"updated_at": NOW + timedelta(1)})) == ({}, {})


def test_the_order_of_lists_is_no_difference() -> None:
    addresses = [Address(network="n", address=f"10.0.0.{n}", version=4) for n in (1, 2)]
    one = VM.model_copy(update={"addresses": tuple(addresses), "tags": ("a", "b")})
    two = VM.model_copy(update={"addresses": tuple(addresses[::-1]), "tags": ("b", "a")})
    assert canonical(one) == canonical(two)


def test_an_ended_vm_keeps_what_it_was_but_its_addresses_and_task() -> None:
    address = Address(network="n", address="10.0.0.1", version=4)
    was = VM.model_copy(update={"task": "deleting", "addresses": (address,)})
    assert ended(was, "a", VmState.DELETED) == VM.model_copy(update={"state": VmState.DELETED})


def chosen(
    server_id: str | None, state: VmState, servers: list[Seen], *, creating: bool = False
) -> tuple[Seen | None, list[Seen]]:
    return choose(server_id, state, servers, creating=creating)


def test_the_known_server_stays_the_vm_as_long_as_it_lives() -> None:
    known, older = seen("a"), seen("b", age=9)
    assert chosen("a", VmState.ACTIVE, [older, known]) == (known, [older])
    assert chosen("a", VmState.DELETED, [older, known]) == (known, [older])


def test_of_unknown_servers_the_oldest_living_one_is_the_vm() -> None:
    young, old, dead = seen("a"), seen("b", age=1), seen("c", 9, VmState.DELETED)
    assert chosen(None, VmState.UNKNOWN, [young, old, dead]) == (old, [young])


def test_a_deleted_server_counts_only_if_it_is_the_known_one() -> None:
    dead = seen("a", 0, VmState.DELETED)
    assert chosen(None, VmState.REQUESTED, [dead]) == (None, [])
    assert chosen("b", VmState.ACTIVE, [dead]) == (None, [])
    assert chosen("a", VmState.ACTIVE, [dead]) == (dead, [])


def test_another_server_takes_the_place_of_one_that_is_gone_while_the_vm_is_made() -> None:
    dead, living = seen("a", 0, VmState.DELETED), seen("b")
    assert chosen("a", VmState.BUILDING, [dead, living], creating=True) == (living, [])
    assert chosen("a", VmState.BUILDING, [living], creating=True) == (None, [living])
    assert chosen("a", VmState.ACTIVE, [dead, living]) == (dead, [living])


def test_another_server_takes_the_place_of_one_that_is_missing() -> None:
    living = seen("b")
    assert chosen("a", VmState.MISSING, [living]) == (living, [])
    assert chosen("a", VmState.ACTIVE, [living]) == (None, [living])


@pytest.mark.parametrize("server_id", ["a", None])
@pytest.mark.parametrize("creating", [True, False])
def test_a_deleted_vm_stays_deleted_whatever_carries_its_mark(
    server_id: str | None, creating: bool
) -> None:
    living = seen("b")
    assert chosen(server_id, VmState.DELETED, [living], creating=creating) == (None, [living])


def test_a_vm_whose_server_is_deleted_while_it_is_made_has_none() -> None:
    dead = seen("a", 0, VmState.DELETED).snapshot
    unmade = pictured(VM, dead, creating=True)
    assert (unmade.state, unmade.server_id, unmade.name) == (VmState.REQUESTED, None, "web")
    assert pictured(VM, dead, creating=False) == ended(VM, "a", VmState.DELETED)


def test_the_digest_tells_pictures_apart_and_the_order_of_lists_does_not() -> None:
    tagged = VM.model_copy(update={"tags": ("a", "b")})
    turned = VM.model_copy(update={"tags": ("b", "a")})
    assert digest(canonical(tagged)) == digest(canonical(turned))
    assert digest(tagged) != digest(VM)
