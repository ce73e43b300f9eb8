"""What the project needs of an OpenStack, told by hand; the simulator and a real cloud both do it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.conformance.cloud import Cloud, JsonObject, Make, Tenant

# openstacksdk deprecates parts of itself that it uses itself
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
NOBODY = "11111111-1111-1111-1111-111111111111"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDLE = None


@pytest.fixture(scope="module")
def active(demo: Tenant, parts: dict[str, Any]) -> Iterator[str]:
    """An ACTIVE server that several tests use, each leaving it ACTIVE."""
    body = {**parts, "tags": ["a", "b"], "metadata": {"k": "v"}, "description": "d"}
    server_id = str(demo.call("POST", "/servers", {"server": body}).body["server"]["id"])
    demo.settled(server_id, "ACTIVE")
    yield server_id
    demo.call("DELETE", f"/servers/{server_id}")
    demo.gone(server_id)


# ---------------------------------------------------------------- versions


def test_the_version_document_names_the_microversions(demo: Tenant) -> None:
    version = demo.call("GET", "", version=None).body["version"]
    assert version["id"] == "v2.1"
    assert version["min_version"] == "2.1"
    assert int(version["version"].split(".")[1]) >= 96


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ("3.1", 406, r"Version 3\.1 is not supported by the API\. Minimum is 2\.1 and maximum is"),
        ("2.999", 406, r"Version 2\.999 is not supported"),
        ("zz", 400, r"API Version String zz is of invalid format\. Must be of format"),
    ],
)
def test_a_microversion_that_is_not_spoken_is_refused(
    demo: Tenant, asked: str, status: int, words: str
) -> None:
    header = {"OpenStack-API-Version": f"compute {asked}"}
    answer = demo.call("GET", "/servers", version=None, headers=header)
    assert answer.status == status
    assert re.search(words, answer.message)


def test_every_answer_tells_its_request_id_and_microversion(demo: Tenant) -> None:
    headers = {k.lower(): v for k, v in demo.call("GET", "/servers").headers.items()}
    assert headers["openstack-api-version"] == "compute 2.96"
    assert headers["x-openstack-nova-api-version"] == "2.96"
    assert headers["x-openstack-request-id"].startswith("req-")
    assert headers["x-compute-request-id"] == headers["x-openstack-request-id"]


def test_fields_come_with_their_microversion(demo: Tenant, active: str) -> None:
    old, new = demo.server(active, "2.1"), demo.server(active, "2.96")
    later = {"locked", "description", "tags", "locked_reason", "trusted_image_certificates",
             "server_groups", "OS-EXT-SRV-ATTR:hostname", "pinned_availability_zone"}  # fmt: skip
    assert not later & set(old)
    assert set(new) - set(old) == later
    assert old["flavor"]["id"] == demo.named("compute", "flavors", "m1.nano")
    assert new["flavor"] == {
        "vcpus": 1, "ram": 64, "disk": 1, "ephemeral": 0, "swap": 0,
        "original_name": "m1.nano", "extra_specs": {},
    }  # fmt: skip


# ------------------------------------------------------- what a create refuses

REFUSED: list[tuple[str, dict[str, object], int, str]] = [
    ("flavor", {"flavorRef": "nope"}, 400, "Flavor nope could not be found."),
    ("image", {"imageRef": NOBODY}, 400, "Can not find requested image"),
    ("no image", {"imageRef": ""}, 400, "Missing imageRef attribute"),
    ("network", {"networks": [{"uuid": NOBODY}]}, 400, f"Network {NOBODY} could not be found."),
    ("port", {"networks": [{"port": NOBODY}]}, 400, f"Port id {NOBODY} could not be found."),
    ("which network", {"networks": "auto"}, 409,
     "Multiple possible networks found, use a Network ID to be more specific."),
    ("key", {"key_name": "nokey"}, 400, "Invalid key_name provided."),
    ("group", {"security_groups": [{"name": "nosg"}]}, 400,
     "Unable to find security_group with name or id 'nosg'"),
    ("zone", {"availability_zone": "nozone"}, 400,
     "The requested availability zone is not available"),
    ("empty name", {"name": ""}, 400,
     "Invalid input for field/attribute name. Value: . '' should be non-empty"),
    ("name with spaces", {"name": " x "}, 400,
     ("An invalid 'name' value was provided. The name must be: printable characters. "
     "Can not start or end with whitespace.")),
    ("name type", {"name": 5}, 400,
     "Invalid input for field/attribute name. Value: 5. 5 is not of type 'string'"),
    ("tag with a slash", {"tags": ["a/b"]}, 400,
     "Invalid input for field/attribute 0. Value: a/b. 'a/b' does not match '^[^,/]*$'"),
    ("long tag", {"tags": ["a" * 61]}, 400,
     f"Invalid input for field/attribute 0. Value: {'a' * 61}. '{'a' * 61}' is too long"),
    ("metadata key", {"metadata": {"a!": "b"}}, 400,
     ("Invalid input for field/attribute metadata. Value: {'a!': 'b'}. 'a!' does not match any "
     "of the regexes: '^[a-zA-Z0-9-_:. ]{1,255}$'")),
    ("metadata value", {"metadata": {"a": 1}}, 400,
     "Invalid input for field/attribute a. Value: 1. 1 is not of type 'string'"),
    ("much metadata", {"metadata": {f"k{i}": "v" for i in range(129)}}, 403,
     "Maximum number of metadata items exceeds 128"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "status", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_create_that_cannot_be_is_refused_in_novas_words(
    demo: Tenant, parts: dict[str, Any], fields: dict[str, object], status: int, words: str
) -> None:
    answer = demo.call("POST", "/servers", {"server": {**parts, **fields}})
    assert (answer.status, answer.message) == (status, words)


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"tags": [f"t{i}" for i in range(51)]}, "is too long"),
        ({"user_data": "QUFB" * 20000}, "is too long"),
        ({"user_data": "QUFBQ"}, "is not a 'base64'"),
        ({"bogus": 1}, "Additional properties are not allowed ('bogus' was unexpected)"),
        ({"networks": [{"uuid": "x"}]}, "is not valid under any of the given schemas"),
    ],
)
def test_a_malformed_create_ends_with_what_is_wrong(
    demo: Tenant, parts: dict[str, Any], fields: dict[str, object], end: str
) -> None:
    answer = demo.call("POST", "/servers", {"server": {**parts, **fields}})
    assert answer.status == 400
    assert answer.message.endswith(end)


def test_tags_on_create_need_2_52(demo: Tenant, parts: dict[str, Any]) -> None:
    answer = demo.call("POST", "/servers", {"server": {**parts, "tags": ["a"]}}, version="2.51")
    assert answer.status == 400
    assert answer.message.endswith("Additional properties are not allowed ('tags' was unexpected)")


def test_quota_is_a_403_that_counts(cloud: Cloud, parts: dict[str, Any]) -> None:
    network = cloud.other.named("network", "networks", "other-net")
    body = {**parts, "networks": [{"uuid": network}], "min_count": 11}
    answer = cloud.other.call("POST", "/servers", {"server": body})
    assert answer.status == 403
    assert answer.message == (
        "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances"
    )


def test_another_tenants_network_does_not_exist(cloud: Cloud, parts: dict[str, Any]) -> None:
    answer = cloud.other.call("POST", "/servers", {"server": parts})
    network = parts["networks"][0]["uuid"]
    assert (answer.status, answer.message) == (400, f"Network {network} could not be found.")


# ------------------------------------------------------------------- building


def test_a_build_shows_no_address_until_it_is_active(demo: Tenant, make: Make) -> None:
    server_id = make()
    early = demo.server(server_id)
    assert (early["status"], early["addresses"], early["OS-EXT-STS:power_state"]) == (
        "BUILD",
        {},
        0,
    )
    seen = demo.settled(server_id, "ACTIVE")
    assert {status for status, _ in seen} == {"BUILD", "ACTIVE"}
    steps = {"scheduling", None, "networking", "block_device_mapping", "spawning"}
    assert {task for _, task in seen} <= steps
    server = demo.server(server_id)
    (address,) = server["addresses"]["private"]
    assert address["OS-EXT-IPS:type"] == "fixed"
    assert address["version"] == 4
    assert server["OS-EXT-STS:power_state"] == 1
    assert server["OS-SRV-USG:launched_at"] is not None
    assert server["security_groups"] == [{"name": "default"}]


def test_what_was_asked_is_what_is_shown(demo: Tenant, active: str, parts: dict[str, Any]) -> None:
    server = demo.server(active)
    assert server["name"] == parts["name"]
    assert server["metadata"]["k"] == "v"
    assert {"a", "b"} <= set(server["tags"])
    assert server["description"] == "d"
    assert server["tenant_id"] == demo.project_id
    assert server["image"]["id"] == parts["imageRef"]


def test_a_build_that_fails_on_every_host_is_error_with_a_fault(demo: Tenant, make: Make) -> None:
    server_id = make(metadata={"fake:fail": "spawn"})
    demo.settled(server_id, "ERROR")
    server = demo.server(server_id)
    assert server["fault"]["code"] == 500
    assert server["fault"]["message"] == (
        "Exceeded maximum number of retries. Exhausted all hosts available for retrying build "
        f"failures for instance {server_id}."
    )
    start = demo.call("POST", f"/servers/{server_id}/action", {"os-start": None})
    assert (start.status, start.message) == (409, f"Instance {server_id} is not ready")


def test_a_server_that_builds_may_be_renamed_and_nothing_else(demo: Tenant, make: Make) -> None:
    server_id = make(metadata={"fake:delay:spawn": "3"})
    demo.wait(server_id, lambda s: s["OS-EXT-STS:task_state"] == "spawning")
    path = f"/servers/{server_id}"
    building = f"instance {server_id} while it is in vm_state building"
    for method, below, body, verb in (
        ("POST", "/action", {"os-stop": None}, "stop"),
        ("POST", "/action", {"reboot": {"type": "HARD"}}, "reboot"),
        ("PUT", "/tags/w", None, "update tag"),
        ("PUT", "/metadata/z", {"meta": {"z": "1"}}, "update metadata"),
    ):
        answer = demo.call(method, path + below, body)
        assert (answer.status, answer.message) == (409, f"Cannot '{verb}' {building}")
    assert demo.call("PUT", path, {"server": {"name": "in-build"}}).status == 200
    assert demo.call("DELETE", path).status == 204
    demo.gone(server_id)


# -------------------------------------------------------------------- actions

JOURNEY = [
    ({"os-stop": None}, "SHUTOFF", {("ACTIVE", "powering-off")}),
    ({"os-start": None}, "ACTIVE", {("SHUTOFF", "powering-on")}),
    ({"reboot": {"type": "SOFT"}}, "ACTIVE",
     {("REBOOT", "rebooting"), ("REBOOT", "reboot_pending"), ("REBOOT", "reboot_started")}),
    ({"reboot": {"type": "HARD"}}, "ACTIVE",
     {("HARD_REBOOT", "rebooting_hard"), ("HARD_REBOOT", "reboot_pending_hard"),
      ("HARD_REBOOT", "reboot_started_hard")}),
    ({"pause": None}, "PAUSED", {("ACTIVE", "pausing")}),
    ({"unpause": None}, "ACTIVE", {("PAUSED", "unpausing")}),
    ({"suspend": None}, "SUSPENDED", {("ACTIVE", "suspending")}),
    ({"resume": None}, "ACTIVE", {("SUSPENDED", "resuming")}),
]  # fmt: skip


def test_each_action_goes_through_its_own_states(demo: Tenant, active: str) -> None:
    for body, end, between in JOURNEY:
        answer = demo.call("POST", f"/servers/{active}/action", body)
        assert answer.status == 202, (body, answer.text)
        seen = demo.settled(active, end)
        assert set(seen[:-1]) <= between, body
        assert seen[-1] == (end, IDLE)


def test_a_hard_reboot_starts_what_is_stopped_and_shows_shutoff_on_the_way(
    demo: Tenant, active: str
) -> None:
    demo.call("POST", f"/servers/{active}/action", {"os-stop": None})
    demo.settled(active, "SHUTOFF")
    demo.call("POST", f"/servers/{active}/action", {"reboot": {"type": "HARD"}})
    seen = demo.settled(active, "ACTIVE")
    assert {status for status, _ in seen[:-1]} <= {"SHUTOFF"}


def test_an_action_in_the_wrong_state_is_a_409_that_names_it(demo: Tenant, active: str) -> None:
    def refused(body: JsonObject, verb: str, state: str) -> None:
        answer = demo.call("POST", f"/servers/{active}/action", body)
        words = f"Cannot '{verb}' instance {active} while it is in {state}"
        assert (answer.status, answer.message) == (409, words)

    refused({"os-start": None}, "start", "vm_state active")
    refused({"resume": None}, "resume", "vm_state active")
    demo.call("POST", f"/servers/{active}/action", {"os-stop": None})
    refused({"os-stop": None}, "stop", "task_state powering-off")
    demo.settled(active, "SHUTOFF")
    refused({"os-stop": None}, "stop", "vm_state stopped")
    refused({"reboot": {"type": "SOFT"}}, "reboot", "vm_state stopped")
    demo.call("POST", f"/servers/{active}/action", {"os-start": None})
    demo.settled(active, "ACTIVE")


def test_an_action_that_is_none_is_refused(demo: Tenant, active: str) -> None:
    path = f"/servers/{active}/action"
    assert demo.call("POST", path, {"bogus": None}).message == "There is no such action: bogus"
    assert demo.call("POST", path, {"reboot": {"type": "X"}}).message == (
        "Invalid input for field/attribute type. Value: X. "
        "'X' is not one of ['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']"
    )
    denied = demo.call("POST", path, {"os-resetState": {"state": "error"}})
    assert denied.status == 403


def test_an_action_is_found_by_novas_request_id_and_not_by_the_callers(
    demo: Tenant, active: str
) -> None:
    mine = f"req-{uuid.uuid4()}"
    path = f"/servers/{active}"
    reboot = {"reboot": {"type": "SOFT"}}
    answer = demo.call("POST", path + "/action", reboot, headers={"X-Openstack-Request-Id": mine})
    request_id = {k.lower(): v for k, v in answer.headers.items()}["x-openstack-request-id"]
    assert request_id != mine
    demo.settled(active, "ACTIVE")
    assert demo.call("GET", f"{path}/os-instance-actions/{mine}").status == 404

    def finished() -> bool:
        found = demo.call("GET", f"{path}/os-instance-actions/{request_id}").body["instanceAction"]
        assert found["action"] == "reboot"
        return all(event["result"] == "Success" for event in found["events"])

    _until(finished)
    listed = demo.call("GET", f"{path}/os-instance-actions").body["instanceActions"]
    assert listed[0]["request_id"] == request_id


def test_a_stop_that_fails_leaves_the_server_active_and_says_so_in_the_action(
    demo: Tenant, make: Make
) -> None:
    server_id = make(metadata={"fake:fail": "power_off"})
    demo.settled(server_id, "ACTIVE")
    answer = demo.call("POST", f"/servers/{server_id}/action", {"os-stop": None})
    assert answer.status == 202
    request_id = {k.lower(): v for k, v in answer.headers.items()}["x-openstack-request-id"]
    path = f"/servers/{server_id}/os-instance-actions/{request_id}"
    _until(lambda: demo.call("GET", path).body["instanceAction"]["message"] == "Error")
    demo.settled(server_id, "ACTIVE")
    assert "fault" not in demo.server(server_id)


def _until(done: Callable[[], bool]) -> None:
    for _ in range(100):
        if done():
            return
        time.sleep(0.1)
    raise TimeoutError


# ------------------------------------------------------------- what is written


def test_updated_moves_with_metadata_and_name_and_not_with_tags(demo: Tenant, active: str) -> None:
    path = f"/servers/{active}"
    moves: Mapping[str, tuple[str, str, JsonObject | None, bool]] = {
        "an item": ("PUT", "/metadata/z", {"meta": {"z": "1"}}, True),
        "the same item": ("PUT", "/metadata/z", {"meta": {"z": "1"}}, False),
        "another item": ("POST", "/metadata", {"metadata": {"y": "1"}}, True),
        "no item": ("DELETE", "/metadata/y", None, False),
        "a tag": ("PUT", "/tags/z", None, False),
        "all tags": ("PUT", "/tags", {"tags": ["a", "b"]}, False),
        "no tag": ("DELETE", "/tags/b", None, False),
        "description": ("PUT", "", {"server": {"description": "d2"}}, True),
        "nothing": ("PUT", "", {"server": {}}, False),
    }
    for what, (method, below, body, expected) in moves.items():
        before = demo.server(active)["updated"]
        time.sleep(1.1)
        assert demo.call(method, path + below, body).status < 300, what
        after = demo.server(active)["updated"]
        if what != "the same item":  # Nova 33 moved it for PUT of all, so nobody may rely on it
            assert (after > before) is expected, what


def test_tags_answer_201_then_204_and_404_when_they_are_not(demo: Tenant, active: str) -> None:
    path = f"/servers/{active}/tags"
    assert demo.call("PUT", path + "/fresh").status == 201
    assert demo.call("PUT", path + "/fresh").status == 204
    assert demo.call("GET", path + "/fresh").status == 204
    assert demo.call("DELETE", path + "/fresh").status == 204
    missing = demo.call("DELETE", path + "/fresh")
    assert (missing.status, missing.message) == (404, f"Instance {active} has no tag 'fresh'")
    bad = demo.call("PUT", path + "/x,y")
    assert bad.message == (
        "Tag 'x,y' is invalid. It must be a non empty string without characters '/' and ','. "
        "Validation error message: 'x,y' does not match '^[^,/]*$'"
    )


def test_a_locked_server_refuses_all_but_rename_and_tags(demo: Tenant, active: str) -> None:
    path = f"/servers/{active}"
    demo.call("POST", path + "/action", {"lock": {"locked_reason": "because"}})
    try:
        server = demo.server(active)
        assert (server["locked"], server["locked_reason"]) == (True, "because")
        locked = f"Instance {active} is locked"
        for method, below, body in (
            ("POST", "/action", {"os-stop": None}),
            ("DELETE", "", None),
            ("PUT", "/metadata/z", {"meta": {"z": "1"}}),
        ):
            answer = demo.call(method, path + below, body)
            assert (answer.status, answer.message) == (409, locked)
        assert demo.call("PUT", path + "/tags/locked").status == 201
        name = server["name"]
        assert demo.call("PUT", path, {"server": {"name": name}}).status == 200
    finally:
        demo.call("POST", path + "/action", {"unlock": None})


# --------------------------------------------------------------------- lists


def test_lists_filter_by_tag_name_and_status_and_page_newest_first(
    demo: Tenant, make: Make
) -> None:
    tag = f"list-{uuid.uuid4().hex[:8]}"
    first = make(tags=[tag, "x"], name=f"{tag}-One")
    time.sleep(1.1)
    second = make(tags=[tag], name=f"{tag}-two")
    demo.settled(first, "ACTIVE")
    demo.settled(second, "ACTIVE")

    def ids(query: str) -> list[str]:
        return [s["id"] for s in demo.call("GET", f"/servers?{query}").body["servers"]]

    assert ids(f"tags={tag}") == [second, first]
    assert ids(f"tags={tag},x") == [first]
    assert ids(f"not-tags=x&tags={tag}") == [second]
    assert ids(f"name={tag}-one") == [first]  # a pattern, and the case does not matter
    assert ids(f"name={tag}&status=ACTIVE") == [second, first]
    assert ids(f"name={tag}&status=SHUTOFF") == []
    page = demo.call("GET", f"/servers/detail?tags={tag}&limit=1").body
    assert [s["id"] for s in page["servers"]] == [second]
    (link,) = page["servers_links"]
    assert link["rel"] == "next"
    assert link["href"].endswith(f"/servers/detail?limit=1&tags={tag}&marker={second}")
    assert ids(f"tags={tag}&limit=1&marker={second}") == [first]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("foo=1", 400, "'foo' does not match any of the regexes: '^_'"),
        ("status=foo", 400, "Invalid status value"),
        ("status=DELETED", 403, "Only administrators may list deleted instances"),
        (f"marker={NOBODY}", 400, f"marker [{NOBODY}] not found"),
        ("limit=-1", 400, ("Invalid input for query parameters limit. Value: -1. "
                          "'-1' does not match '^[0-9]*$'")),
        ("changes-since=xx", 400, ("Invalid input for query parameters changes-since. Value: xx. "
                                  "'xx' is not a 'date-time'")),
        ("all_tenants=1", 403, ("Policy doesn't allow os_compute_api:servers:index:get_all_tenants "
                               "to be performed.")),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_is_refused(
    demo: Tenant, query: str, status: int, words: str
) -> None:
    answer = demo.call("GET", f"/servers?{query}")
    assert (answer.status, answer.message) == (status, words)


def test_a_deleted_server_is_in_changes_since_without_tags_and_metadata(
    demo: Tenant, make: Make
) -> None:
    server_id = make(tags=["t"], metadata={"k": "v"})
    demo.settled(server_id, "ACTIVE")
    since = demo.server(server_id)["updated"]
    assert demo.call("DELETE", f"/servers/{server_id}").status == 204
    assert demo.call("DELETE", f"/servers/{server_id}").status == 204  # while it is being deleted
    seen = demo.gone(server_id)
    assert {s for s, _ in seen} <= {"ACTIVE", "DELETED"}
    changed = demo.call("GET", f"/servers/detail?changes-since={since}").body["servers"]
    (found,) = [s for s in changed if s["id"] == server_id]
    assert found["status"] == "DELETED"
    # Its addresses go when its ports do, which may be a moment later.
    assert (found["tags"], found["metadata"]) == ([], {})
    assert found["OS-EXT-STS:power_state"] == 0
    assert found["OS-SRV-USG:terminated_at"] is not None
    kept = demo.call("GET", f"/servers/{server_id}/os-instance-actions").body["instanceActions"]
    assert kept[0]["action"] == "delete"
    for method in ("GET", "DELETE"):
        answer = demo.call(method, f"/servers/{server_id}")
        words = f"Instance {server_id} could not be found."
        assert (answer.status, answer.message) == (404, words)


def test_changes_since_takes_the_second_itself_and_not_the_next(demo: Tenant, active: str) -> None:
    time.sleep(1.1)
    demo.call("PUT", f"/servers/{active}", {"server": {"description": "d"}})
    at = str(demo.server(active)["updated"])
    later = f"{at[:-1]}.500Z"

    def seen(since: str) -> bool:
        found = demo.call("GET", f"/servers?changes-since={since}").body["servers"]
        return active in [s["id"] for s in found]

    assert seen(at)
    assert not seen(later)


def test_what_never_was_is_404(demo: Tenant) -> None:
    for method, path, body, words in (
        ("GET", f"/servers/{NOBODY}", None, "could not be found."),
        ("DELETE", f"/servers/{NOBODY}", None, "could not be found."),
        ("POST", f"/servers/{NOBODY}/action", {"pause": None}, "could not be found."),
        ("POST", f"/servers/{NOBODY}/action", {"os-stop": None}, "has no mapping to a cell."),
        ("GET", f"/servers/{NOBODY}/tags", None, "has no mapping to a cell."),
    ):
        answer = demo.call(method, path, body)
        assert (answer.status, answer.message) == (404, f"Instance {NOBODY} {words}")


def test_another_tenant_does_not_see_the_server(cloud: Cloud, active: str) -> None:
    assert cloud.other.call("GET", f"/servers/{active}").status == 404
    listed = cloud.other.call("GET", "/servers").body["servers"]
    assert active not in [s["id"] for s in listed]


# ----------------------------------------------------------- around the servers


def test_novas_port_goes_with_the_server_and_the_callers_stays(
    demo: Tenant, make: Make, parts: dict[str, Any]
) -> None:
    network = parts["networks"][0]["uuid"]
    own = demo.sdk.network.create_port(network_id=network, name="own")
    try:
        server_id = make(networks=[{"uuid": network}, {"port": own.id}])
        demo.settled(server_id, "ACTIVE")
        ports = list(demo.sdk.network.ports(device_id=server_id))
        assert len(ports) == 2
        assert {p.device_owner for p in ports} == {"compute:nova"}
        demo.call("DELETE", f"/servers/{server_id}")
        demo.gone(server_id)
        _until(lambda: not list(demo.sdk.network.ports(device_id=server_id)))
        assert demo.sdk.network.get_port(own.id).device_id == ""
    finally:
        demo.sdk.network.delete_port(own.id)


def test_a_missing_network_is_neutrons_404(demo: Tenant) -> None:
    answer = demo.call("GET", f"/networks/{NOBODY}", service="network")
    assert answer.status == 404
    assert answer.body["NeutronError"]["type"] == "NetworkNotFound"


def test_images_flavors_and_networks_are_found_by_name(demo: Tenant) -> None:
    assert demo.sdk.image.find_image("tiny-raw").status == "active"
    assert demo.sdk.compute.find_flavor("m1.small").ram == 2048
    assert demo.sdk.network.find_network("public").is_router_external
    assert demo.sdk.network.find_subnet("private-subnet").cidr == "10.10.0.0/16"
    assert demo.sdk.image.find_image("no-such-image") is None
    first = demo.call("GET", "/images?limit=1", service="image").body
    assert len(first["images"]) == 1
    assert first["next"].endswith(f"marker={first['images'][0]['id']}")


def test_limits_and_quota_tell_what_is_used(cloud: Cloud) -> None:
    absolute = cloud.other.call("GET", "/limits").body["limits"]["absolute"]
    assert (absolute["maxTotalInstances"], absolute["totalInstancesUsed"]) == (10, 0)
    quota = cloud.other.call("GET", f"/os-quota-sets/{cloud.other.project_id}").body["quota_set"]
    assert (quota["instances"], quota["cores"], quota["ram"]) == (10, 20, 51200)


def test_key_pairs_are_made_of_a_public_key(demo: Tenant) -> None:
    name = f"key-{uuid.uuid4().hex[:8]}"
    key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDx8nkQv/zgGgB4rMYmIf+6A4l6Rr+o/6lHBQdW5aYd44bd8JttDCE/F/pNRr0lRE+PiqSPO8nDPHw0010JeMH9gYgnnFlyY3/OcJ02RhIPyyxYpv9FhY+2YiUkpwFOcLImyrxEsYXpD/0d3ac30bNH6Sw9JD9UZHYcpSxsIbECHw== a@b"  # fmt: skip
    body = {"keypair": {"name": name, "public_key": key}}
    made = demo.call("POST", "/os-keypairs", body)
    assert made.status == 201
    fingerprint = "1e:2c:9b:56:79:4b:45:77:f9:ca:7a:98:2c:b0:d5:3c"
    assert made.body["keypair"]["fingerprint"] == fingerprint
    again = demo.call("POST", "/os-keypairs", body)
    assert (again.status, again.message) == (409, f"Key pair '{name}' already exists.")
    assert demo.call("DELETE", f"/os-keypairs/{name}").status == 204
    assert demo.call("GET", f"/os-keypairs/{name}").status == 404


def test_volumes_are_made_listed_and_deleted(demo: Tenant) -> None:
    volume = demo.sdk.block_storage.create_volume(size=1, name="conformance")
    assert volume.status == "creating"
    _until(lambda: demo.sdk.block_storage.get_volume(volume.id).status == "available")
    assert volume.id in [v.id for v in demo.sdk.block_storage.volumes()]
    demo.sdk.block_storage.delete_volume(volume.id)


# --------------------------------------------------------------------- identity


def test_a_client_whose_token_was_revoked_logs_in_again(cloud: Cloud) -> None:
    tenant = Tenant(cloud.other.cloud)
    token = tenant.sdk.session.get_token()
    headers = {"X-Subject-Token": token}
    revoked = tenant.call("DELETE", "/auth/tokens", service="identity", headers=headers)
    assert revoked.status == 204
    assert tenant.call("GET", "/auth/tokens", service="identity", headers=headers).status == 404
    assert tenant.sdk.session.get_token() != token


def test_a_wrong_token_is_401_everywhere(demo: Tenant) -> None:
    for service, path in (("compute", "/servers"), ("network", "/networks"), ("image", "/images")):
        endpoint = getattr(demo.sdk, service)
        answer = demo.sdk.session.get(
            endpoint.get_endpoint_data().url.rstrip("/") + path,
            authenticated=False,
            raise_exc=False,
            headers={"X-Auth-Token": "bad"},
        )
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


def test_openstacksdk_leads_a_server_through_its_life(demo: Tenant, parts: dict[str, Any]) -> None:
    compute = demo.sdk.compute
    compute.default_microversion = "2.96"
    server = compute.create_server(
        name=parts["name"] + "-sdk",
        image_id=parts["imageRef"],
        flavor_id=parts["flavorRef"],
        networks=parts["networks"],
        tags=["sdk"],
    )
    assert UUID.fullmatch(server.id)
    assert compute.wait_for_server(server, interval=0.2, wait=60).status == "ACTIVE"
    compute.stop_server(server)
    assert compute.wait_for_server(server, status="SHUTOFF", interval=0.2, wait=60)
    assert compute.update_server(server, name="renamed").name == "renamed"
    compute.delete_server(server)
    compute.wait_for_delete(server, interval=0.2, wait=60)
    assert compute.find_server("renamed") is None
