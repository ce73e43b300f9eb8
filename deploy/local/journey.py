"""One VM's whole life over public HTTP; every step asserts what it claims."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from openstack.config import OpenStackConfig
from openstack.connection import Connection

from deploy.local.catalog import choose
from deploy.local.client import WAIT, Client, DemoError, Follower, Json
from deploy.local.timeline import Timeline

AUDIT_SECONDS: Final = 15.0
SHOWN: Final = frozenset({"name", "state", "task"})


class Journey:
    """Plays the steps on one VM; `cloud` and `clouds_yaml` are for the step in the cloud itself."""

    def __init__(
        self, client: Client, timeline: Timeline, cloud: str, clouds_yaml: Path | None
    ) -> None:
        self._client = client
        self._timeline = timeline
        self._cloud = (cloud, clouds_yaml)
        self._vm_id = ""
        self._follower: Follower | None = None
        self._operations: list[Json] = []

    def play(self) -> None:
        """The whole life; DemoError at the first thing that is not as promised."""
        self._timeline.chapter("Create")
        self._create()
        self._timeline.chapter("Stop, start, reboot")
        self._act("stop", "stopped")
        self._act("start", "active")
        self._act("reboot", "active", {"hard": False})
        self._act("reboot", "active", {"hard": True})
        self._timeline.chapter("Rename")
        self._rename()
        self._timeline.chapter("A change behind Hostler's back")
        self._change_in_the_cloud()
        self._timeline.chapter("Delete")
        self._delete()
        self._timeline.chapter("Audit")
        self._audit()

    def _create(self) -> None:
        name = f"demo-{uuid.uuid4().hex[:6]}"
        body = {"name": name, **choose(self._client), "tags": ["demo"]}
        headers = {"Idempotency-Key": f"create-{name}"}
        first = self._ask_create(body, headers)
        again = self._ask_create(body, headers)
        check(again["id"] == first["id"], "the same request made a second operation")
        self._timeline.answered(f"the same operation …{again['id'][-8:]}: one VM per intent")
        self._vm_id = first["vm_id"]
        self._timeline.asked(f"GET /v1/events?vm_id={self._vm_id} (followed until the end)")
        self._follower = Follower(self._client, self._vm_id, self._tell)
        self._settle(first, "active")

    def _ask_create(self, body: Json, headers: dict[str, str]) -> Json:
        key = headers["Idempotency-Key"]
        self._timeline.asked(f"POST /v1/vms {body['flavor']}, {body['image']} (key {key})")
        answer = self._client.call("POST", "/v1/vms", json=body, headers=headers, expect=(202,))
        operation: Json = answer.json()
        location = answer.headers["Location"]
        check(location.endswith(f"/v1/operations/{operation['id']}"), f"Location is {location}")
        self._timeline.answered(f"202, operation …{operation['id'][-8:]} {operation['state']}")
        return operation

    def _act(self, verb: str, state: str, body: Json | None = None) -> None:
        how = "" if body is None else " " + ("hard" if body["hard"] else "soft")
        path = f"/v1/vms/{self._vm_id}/{verb}"
        self._timeline.asked(f"POST …/{verb}{how} (Prefer: wait=20)")
        answer = self._client.call("POST", path, json=body, headers=WAIT, expect=(200, 202))
        self._settle(answer.json(), state)

    def _rename(self) -> None:
        path, before = f"/v1/vms/{self._vm_id}", self._client.call("GET", f"/v1/vms/{self._vm_id}")
        etag, name = before.headers["ETag"], f"{before.json()['name']}-renamed"
        self._timeline.asked(f"PATCH name={name} (If-Match: {etag})")
        headers = {"If-Match": etag, **WAIT}
        answer = self._client.call(
            "PATCH", path, json={"name": name}, headers=headers, expect=(200, 202)
        )
        self._settle(answer.json(), "active")
        self._client.call("PATCH", path, json={"name": "x"}, headers=headers, expect=(412,))
        self._timeline.answered(f"the old ETag {etag} is refused now: 412")
        self._heard("vm.changed.v1", lambda event: event["data"]["new"].get("name") == name)

    def _change_in_the_cloud(self) -> None:
        server_id = str(self._client.get(f"/v1/vms/{self._vm_id}")["server_id"])
        self._timeline.asked(f"openstacksdk: stop_server({server_id})")
        stop_server(*self._cloud, server_id)
        event = self._heard(
            "vm.changed.v1",
            lambda event: (
                event["data"]["origin"] == "external"
                and event["data"]["new"].get("state") == "stopped"
            ),
        )
        old, new = event["data"]["old"]["state"], event["data"]["new"]["state"]
        self._timeline.answered(f"Hostler noticed: {old} → {new}, origin external")
        self._expect_state("stopped")

    def _delete(self) -> None:
        self._timeline.asked("DELETE /v1/vms/{id} (Prefer: wait=20)")
        path = f"/v1/vms/{self._vm_id}"
        answer = self._client.call("DELETE", path, headers=WAIT, expect=(200, 202))
        self._settle(answer.json(), "deleted")

    def _audit(self) -> None:
        path = f"/v1/audit?vm_id={self._vm_id}&limit=1000"
        self._timeline.asked("GET /v1/audit?vm_id=…")
        asked = {operation["id"] for operation in self._operations}
        entries = self._client.items(path)
        deadline = time.monotonic() + AUDIT_SECONDS
        while missing := asked - ended_in(entries):
            check(time.monotonic() < deadline, f"the audit has no end of {missing}", "audit")
            time.sleep(0.2)
            entries = self._client.items(path)
        self._timeline.answered(
            f"{len(entries)} entries, with the ends of all {len(asked)} operations"
        )
        self._timeline.asked("GET /v1/audit/verify")
        verdict = self._client.get("/v1/audit/verify")
        check(verdict["valid"] is True, f"the hash chain is broken: {verdict}", "audit")
        self._timeline.answered(
            f"{verdict['chains']} hash chains, {verdict['rows']} rows: unbroken"
        )

    def _settle(self, operation: Json, state: str) -> None:
        """The operation succeeds, says so as an event, and leaves the VM in `state`."""
        done = self._client.finish(operation)
        self._operations.append(done)
        took = f"operation …{done['id'][-8:]} succeeded"
        self._heard(
            "operation.succeeded.v1", lambda event: str(event["operation_id"]) == done["id"]
        )
        self._expect_state(state)
        self._timeline.answered(f"{took}; the VM is {state}")

    def _expect_state(self, state: str) -> None:
        vm = self._client.get(f"/v1/vms/{self._vm_id}")
        check(vm["state"] == state, f"the VM is {vm['state']}, not {state}", "sync")

    def _heard(self, kind: str, wanted: Callable[[Json], bool]) -> Json:
        if self._follower is None:
            raise DemoError("nothing is followed yet")
        return self._follower.wait_for(kind, wanted)

    def _tell(self, event: Json) -> None:
        self._timeline.heard(describe(event))


def check(holds: bool, reason: str, culprit: str = "gateway") -> None:
    """DemoError(reason) unless it holds."""
    if not holds:
        raise DemoError(reason, culprit)


def ended_in(entries: list[Json]) -> set[str]:
    """The operations whose end the audit has recorded."""
    ends = [entry for entry in entries if entry["type"] == "operation.succeeded.v1"]
    return {str(entry["operation_id"]) for entry in ends}


def describe(event: Json) -> str:
    """An event in one line."""
    data = event["data"]
    if event["type"] != "vm.changed.v1":
        return f"{event['type']} {data.get('command', '')}".rstrip()
    told = [
        f"{key}: {data['old'].get(key)} → {data['new'][key]}" for key in SHOWN & data["new"].keys()
    ]
    others = sorted(key for key in data["new"].keys() - SHOWN if data["new"][key])
    also = [f"also {', '.join(others)}"] if others else []
    return f"vm.changed.v1 (origin {data['origin']}) {', '.join(sorted(told) + also)}"


def stop_server(cloud: str, clouds_yaml: Path | None, server_id: str) -> None:
    """Stop a server as somebody would who does not know Hostler."""
    files = None if clouds_yaml is None else [str(clouds_yaml)]
    region = OpenStackConfig(config_files=files).get_one(cloud=cloud)
    connection = cast("Any", Connection(config=region))
    connection.compute.stop_server(server_id)
    connection.close()
