"""Servers told apart without being read."""

import json
from typing import Any
from uuid import UUID

import pytest

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


def glance(content: bytes, *known: Glimpse) -> tuple[list[Glimpse], str | None]:
    return glance_page(content, {g.server_id: g.fingerprint for g in known}.get)


def glimpse(**fields: object) -> Glimpse:
    ((found,), _) = glance(page({**SERVER, **fields}))
    return found


def test_a_server_that_is_as_it_was_has_the_same_fingerprint_on_whatever_page() -> None:
    first, _ = glance(page(SERVER, OTHERWISE))
    again, _ = glance(page(OTHERWISE, SERVER))
    later, _ = glance(page(OTHERWISE, SERVER), *first)
    assert [g.fingerprint for g in first] == [g.fingerprint for g in reversed(again)]
    assert [g.fingerprint for g in again] == [g.fingerprint for g in later]
    assert [g.server_id for g in first] == ["s1", "s2"]


def test_what_is_known_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = page(SERVER, OTHERWISE, {"id": "s3"})
    first, _ = glance(content)
    monkeypatch.delattr("drivers.openstack.glimpses._DECODER")
    again, _ = glance(content, *first)
    assert [g.fingerprint for g in again] == [g.fingerprint for g in first]


@pytest.mark.parametrize("cut", range(1, 40))
def test_what_is_cut_off_anywhere_is_refused_also_if_it_was_known(cut: int) -> None:
    content = page(SERVER)
    first, _ = glance(content)
    with pytest.raises(ValueError):  # noqa: PT011 - in whatever words
        glance(content[:-cut], *first)


@pytest.mark.parametrize(
    "more", [{}, {"name": "web-12"}, {"name": "web-"}, {"image": {"id": "s2"}}]
)
def test_known_servers_are_told_from_others_of_any_length(more: dict[str, Any]) -> None:
    known, _ = glance(page(SERVER, OTHERWISE))
    now = [{"image": {"id": "s1"}, "id": "s0"}, {**SERVER, **more}, OTHERWISE, {}]
    glimpses, _ = glance(page(*now), *known)
    assert [g.server_id for g in glimpses] == ["s0", "s1", "s2", ""]
    assert (glimpses[1].fingerprint == known[0].fingerprint) is not bool(more)
    assert glimpses[2].fingerprint == known[1].fingerprint


def test_the_same_in_other_bytes_is_read_again_and_is_the_same() -> None:
    loose = json.dumps({"servers_links": [], "servers": [SERVER, OTHERWISE]}, indent=1).encode()
    tight = json.dumps({"servers": [SERVER, OTHERWISE]}, separators=(",", ":")).encode()
    known, _ = glance(page(SERVER, OTHERWISE))
    for content in (loose, tight):
        glimpses, _ = glance(content, *known)
        assert [g.read() for g in glimpses] == [g.read() for g in known]


@pytest.mark.parametrize("field", OTHERWISE)
def test_any_field_that_differs_changes_the_fingerprint(field: str) -> None:
    assert glimpse().fingerprint != glimpse(**{field: OTHERWISE[field]}).fingerprint


@pytest.mark.parametrize(("one", "two"), [(1, "1"), (1, 1.5), (None, ""), ([], {}), (0, False)])
def test_values_of_another_kind_change_it_too(one: object, two: object) -> None:
    assert glimpse(metadata=one).fingerprint != glimpse(metadata=two).fingerprint


def test_what_is_read_later_is_what_is_read_at_once() -> None:
    content = page(SERVER, OTHERWISE)
    glimpses, _ = glance(content)
    servers, _ = read_page(content)
    assert [g.read() for g in glimpses] == [seen(server) for server in servers]


def test_one_odd_server_does_not_break_the_page() -> None:
    following = [{"rel": "next", "href": "http://inside:8774/v2.1/servers?marker=m%201"}]
    odd: list[object] = [{"id": "odd", "addresses": "none"}, "not even an object", {"id": 7}, None]
    glimpses, marker = glance(page(SERVER, *odd, servers_links=following))
    assert [g.server_id for g in glimpses] == ["s1", "odd", "", "", ""]
    assert [g.read() is None for g in glimpses] == [False, True, True, True, True]
    assert marker == "m 1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"servers": {}}',
        b'{"server": []}',
        b'{"servers": [{}{}]}',
        b'{"servers": [{},]}',
        b'{"servers": [{}',
        b'{"servers": [\xff]}',
        b'{"servers": [' + b"[" * 100_000,
        b'{"servers": [], "servers_links": 1}',
    ],
)
def test_what_is_no_page_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - in whatever words
        glance(content)


def test_an_empty_page_is_one() -> None:
    assert glance(b'{"servers": []}') == ([], None)
