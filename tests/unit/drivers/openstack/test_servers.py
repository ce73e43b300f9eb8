"""Nova's words for a server in Hostler's."""

import json
from uuid import UUID

import pytest

from contracts.vm.states import Address, VmState
from drivers.base import Mark
from drivers.openstack.servers import Server, mark_in, marking, read_page, seen

VM = UUID("6a0a2d50-86b3-4b6e-92ef-a4617e530bcc")


def server(**fields: object) -> Server:
    return Server.model_validate({"id": "s1", **fields})


@pytest.mark.parametrize(
    ("status", "vm_state", "state"),
    [
        ("BUILD", "building", VmState.BUILDING),
        ("ACTIVE", "active", VmState.ACTIVE),
        ("REBOOT", "active", VmState.ACTIVE),
        ("HARD_REBOOT", "active", VmState.ACTIVE),
        ("PASSWORD", "active", VmState.ACTIVE),
        ("REBUILD", "stopped", VmState.STOPPED),
        ("RESIZE", "stopped", VmState.STOPPED),
        ("MIGRATING", "active", VmState.ACTIVE),
        ("SHUTOFF", "stopped", VmState.STOPPED),
        ("PAUSED", "paused", VmState.PAUSED),
        ("SUSPENDED", "suspended", VmState.SUSPENDED),
        ("SHELVED", "shelved", VmState.SHELVED),
        ("SHELVED_OFFLOADED", "shelved_offloaded", VmState.SHELVED),
        ("RESCUE", "rescued", VmState.RESCUED),
        ("VERIFY_RESIZE", "resized", VmState.RESIZED),
        ("REVERT_RESIZE", "resized", VmState.RESIZED),
        ("ERROR", "error", VmState.ERROR),
        ("DELETED", "deleted", VmState.DELETED),
        ("DELETED", "active", VmState.DELETED),
        ("SOFT_DELETED", "soft-delete", VmState.DELETED),
        ("UNKNOWN", None, VmState.UNKNOWN),
        ("SOMETHING_NEW", "new", VmState.UNKNOWN),
        ("SHUTOFF", None, VmState.STOPPED),
        ("REBOOT", None, VmState.ACTIVE),
    ],
)
def test_every_status_has_its_state(status: str, vm_state: str | None, state: VmState) -> None:
    given = server(status=status, **{"OS-EXT-STS:vm_state": vm_state})
    assert seen(given).snapshot.state is state


def test_a_server_that_reboots_has_a_task_even_where_the_cloud_hides_tasks() -> None:
    assert seen(server(status="REBOOT")).snapshot.task == "rebooting"
    shown = server(status="REBOOT", **{"OS-EXT-STS:task_state": "reboot_started"})
    assert seen(shown).snapshot.task == "reboot_started"
    assert seen(server(status="ACTIVE")).snapshot.task is None


def test_one_odd_server_does_not_break_the_page() -> None:
    page: dict[str, list[object]] = {
        "servers": [
            {"id": "good", "status": "ACTIVE"},
            {"id": "odd", "addresses": "none", "metadata": {"secret": 1}},
            "not even an object",
            {"id": "x" * 10_000_000},
            {"id": "long", "name": "x" * 256},
            {"id": "tagged", "tags": ["x" * 256]},
            {"id": "good too", "image": "", "flavor": {}, "fault": None},
        ],
        "servers_links": [{"rel": "next", "href": "http://inside:8774/v2.1/servers?marker=m%201"}],
    }
    servers, marker = read_page(json.dumps(page).encode())
    assert [each.id for each in servers] == ["good", "good too"]
    assert marker == "m 1"


def test_a_server_of_a_cell_that_is_down_is_unknown() -> None:
    vm = seen(server(status="UNKNOWN", created="2026-11-23T00:00:00Z")).snapshot
    assert (vm.state, vm.name, vm.flavor) == (VmState.UNKNOWN, "", None)


def test_a_server_that_boots_from_a_volume_has_no_image() -> None:
    assert seen(server(image="")).snapshot.image is None
    assert seen(server(image={"id": "i"})).snapshot.image == "i"


def test_the_same_addresses_and_groups_are_the_same_in_any_order() -> None:
    a = {"addr": "10.0.0.9", "version": 4}
    b = {"addr": "10.0.0.10", "version": 4, "OS-EXT-IPS:type": "floating"}
    groups = [{"name": "b"}, {"name": "a"}, {"name": "b"}]
    one = seen(server(addresses={"n": [a, b]}, security_groups=groups)).snapshot
    two = seen(server(addresses={"n": [b, a]}, security_groups=groups[::-1])).snapshot
    assert one == two
    assert one.security_groups == ("a", "b")
    assert one.addresses[0] == Address(network="n", address="10.0.0.9", version=4)


def test_a_mark_is_read_as_it_was_written_and_kept_from_sight() -> None:
    mark = Mark(VM, "p:1")
    both = seen(server(tags=["z", *marking(mark), "a"]))
    assert both.mark == mark
    assert both.snapshot.tags == ("a", "z")


@pytest.mark.parametrize(
    "tags",
    [
        [],
        [f"hostler:vm:{VM}"],
        ["hostler:project:p"],
        ["hostler:vm:not-a-uuid", "hostler:project:p"],
        [f"hostler:vm:{VM}", "hostler:project:"],
    ],
)
def test_half_a_mark_is_none(tags: list[str]) -> None:
    assert mark_in(tags) is None
