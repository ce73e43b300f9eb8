"""Servers told apart without being read."""

import json
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from drivers.base import Glimpse, Mark
from drivers.openstack.glimpses import glance_page
from drivers.openstack.servers import marking, read_page, seen

SERVER: dict[str, Any] = {
    "id": "s1",
    "status": "ACTIVE",
    "name": "web-1",
    "description": None,
    "OS-EXT-STS:vm_state": "active",
    "OS-EXT-STS:task_state": None,
    "OS-EXT-AZ:availability_zone": "nova",
    "flavor": {"original_name": "m1.small", "vcpus": 1},
    "image": {"id": "i1"},
    "addresses": {"n": [{"addr": "10.0.0.9", "version": 4, "OS-EXT-IPS:type": "fixed"}]},
    "metadata": {"role": "web"},
    "tags": marking(Mark(UUID(int=1), "p")),
    "key_name": "k",
    "security_groups": [{"name": "default"}],
    "created": "2026-11-23T12:00:00Z",
    "updated": "2026-11-23T12:00:00Z",
}
OTHERWISE: dict[str, Any] = {
    "id": "s2",
    "status": "REBOOT",
    "name": "web-2",
    "description": "",
    "OS-EXT-STS:vm_state": "stopped",
    "OS-EXT-STS:task_state": "rebooting",
    "OS-EXT-AZ:availability_zone": "other",
    "flavor": {"original_name": "m1.large", "vcpus": 1},
    "image": "",
    "addresses": {"n": [{"addr": "10.0.0.8", "version": 4, "OS-EXT-IPS:type": "fixed"}]},
    "metadata": {"role": "web", "more": ""},
    "tags": [],
    "key_name": None,
    "security_groups": [],
    "created": "2026-11-23T12:00:01Z",
    "updated": "2026-11-23T12:00:01Z",
    "fault": {"code": 500, "message": "broke", "created": "2026-11-23T12:00:00Z"},
}


def page(*servers: object, **more: object) -> bytes:
    return json.dumps({"servers": servers, **more}).encode()


def glimpse(**fields: object) -> Glimpse:
    ((found,), _) = glance_page(page({**SERVER, **fields}))
    return found


def test_a_server_that_is_as_it_was_has_the_same_fingerprint_on_whatever_page() -> None:
    first, _ = glance_page(page(SERVER, OTHERWISE))
    again, _ = glance_page(json.dumps({"servers": [OTHERWISE, SERVER]}, indent=1).encode())
    assert [g.fingerprint for g in first] == [g.fingerprint for g in reversed(again)]
    assert [g.server_id for g in first] == ["s1", "s2"]


def test_values_that_occur_twice_are_as_good_as_others() -> None:
    alone = glimpse(name="nova", key_name="nova")
    text = "nova"
    ((beside, _), _) = glance_page(
        page({**SERVER, "name": text, "key_name": text}, {"id": "x", "name": text})
    )
    assert alone.fingerprint == beside.fingerprint


@pytest.mark.parametrize("field", OTHERWISE)
def test_any_field_that_differs_changes_the_fingerprint(field: str) -> None:
    assert glimpse().fingerprint != glimpse(**{field: OTHERWISE[field]}).fingerprint


@pytest.mark.parametrize(("one", "two"), [(1, "1"), (1, 1.5), (None, ""), ([], {}), (0, False)])
def test_values_of_another_kind_change_it_too(one: object, two: object) -> None:
    assert glimpse(metadata=one).fingerprint != glimpse(metadata=two).fingerprint


def test_what_is_read_later_is_what_is_read_at_once() -> None:
    content = page(SERVER, OTHERWISE)
    glimpses, _ = glance_page(content)
    servers, _ = read_page(content)
    assert [g.read() for g in glimpses] == [seen(server) for server in servers]


def test_one_odd_server_does_not_break_the_page() -> None:
    following = [{"rel": "next", "href": "http://inside:8774/v2.1/servers?marker=m%201"}]
    odd: list[object] = [{"id": "odd", "addresses": "none"}, "not even an object", {"id": 7}, None]
    glimpses, marker = glance_page(page(SERVER, *odd, servers_links=following))
    assert [g.server_id for g in glimpses] == ["s1", "odd", "", "", ""]
    assert [g.read() is None for g in glimpses] == [False, True, True, True, True]
    assert marker == "m 1"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"servers": {}}', b'{"server": []}'])
def test_what_is_no_page_is_refused(content: bytes) -> None:
    with pytest.raises(ValidationError):
        glance_page(content)
