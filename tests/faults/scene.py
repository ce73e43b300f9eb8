"""A whole stack to break things in, and what must hold of it afterwards, seen from outside."""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import httpx

from deploy.local.cloud import LocalCloud
from deploy.local.stack import Stack

Json = dict[str, Any]
FINAL = {"succeeded", "failed", "cancelled"}
ENDS = {f"operation.{state}.v1" for state in FINAL}
PATIENCE = 100.0


class Scene:
    """A running stack on the simulator, used as any client would use it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        cloud = stack.cloud
        assert isinstance(cloud, LocalCloud), "faults are ordered from the simulator"
        self.control = httpx.Client(base_url=f"{cloud.url}/control", timeout=20, trust_env=False)
        self.http = httpx.Client(
            base_url=stack.base_url,
            headers={"X-API-Key": stack.api_key},
            timeout=httpx.Timeout(15, read=70),
            trust_env=False,
        )
        self.operations: list[str] = []
        self._login = login(cloud)

    def close(self) -> None:
        self.control.close()
        self.http.close()

    # What a client does

    def ask(self, method: str, path: str, body: Json | None = None, key: str = "") -> Json:
        """Send a command as a good client does: the same key until there is an answer."""
        sent = {"Idempotency-Key": key or str(uuid.uuid4())}
        end = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.http.request(method, path, json=body, headers=sent)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code in {200, 202}:
                operation: Json = answer.json()
                self.operations.append(operation["id"])
                return operation
            retryable = answer is None or answer.status_code == 503 or _in_flight(answer)
            assert retryable, f"{method} {path}: {answer.text if answer else ''}"
            assert time.monotonic() < end, f"{method} {path} was never accepted"
            time.sleep(0.2)

    def create(self, name: str = "", **more: Any) -> Json:
        """Ask for a VM; the operation."""
        body: Json = {"name": name or f"vm-{uuid.uuid4().hex[:8]}", "flavor": "m1.nano"}
        body |= {"image": "tiny-raw", "networks": ["private"]}
        return self.ask("POST", "/v1/vms", {**body, **more})

    def has_catalog(self) -> bool:
        """Whether sync has told the gateway what VMs can be made of."""
        items = self.http.get("/v1/images").json()["items"]
        return "tiny-raw" in [image["name"] for image in items]

    def act(self, vm_id: str, verb: str, body: Json | None = None) -> Json:
        return self.ask("POST", f"/v1/vms/{vm_id}/{verb}", body)

    def delete(self, vm_id: str) -> Json:
        return self.ask("DELETE", f"/v1/vms/{vm_id}")

    def vm(self, vm_id: str) -> Json:
        return cast("Json", self.http.get(f"/v1/vms/{vm_id}").raise_for_status().json())

    def operation(self, operation_id: str) -> Json:
        return cast(
            "Json", self.http.get(f"/v1/operations/{operation_id}").raise_for_status().json()
        )

    def ended(self, operation: Json) -> Json:
        """The operation once it has ended."""
        self.until(lambda: self.operation(operation["id"])["state"] in FINAL, "the operation ends")
        return self.operation(operation["id"])

    def active(self, **more: Any) -> str:
        """A VM that runs; its id."""
        done = self.ended(self.create(**more))
        assert done["state"] == "succeeded", done
        return str(done["vm_id"])

    def until(self, true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until it holds; services may be down meanwhile."""
        end = time.monotonic() + seconds
        while True:
            try:
                if true():
                    return
            except (httpx.HTTPError, KeyError):
                pass
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.1)

    # What the cloud holds

    def order(self, **fault: Any) -> None:
        """Order a fault of the cloud's API."""
        self.control.post("/faults", json=fault).raise_for_status()

    def servers(self) -> list[Json]:
        """The servers in the cloud that carry Hostler's mark, as Nova lists them."""
        url = self.control.base_url.copy_with(path="/")
        token = httpx.post(
            f"{url}identity/v3/auth/tokens", json=self._login, trust_env=False
        ).headers["X-Subject-Token"]
        headers = {"X-Auth-Token": token, "OpenStack-API-Version": "compute 2.79"}
        answer = httpx.get(f"{url}compute/v2.1/servers/detail", headers=headers, trust_env=False)
        listed = cast("list[Json]", answer.raise_for_status().json()["servers"])
        return [each for each in listed if any(t.startswith("hostler:vm:") for t in each["tags"])]

    # What must hold

    def all_ended(self) -> None:
        """Every accepted command has come to its end."""

        def ended() -> bool:
            return all(self.operation(each)["state"] in FINAL for each in set(self.operations))

        self.until(ended, "every accepted command ends")

    def agree(self) -> None:
        """Everything ended once; cloud, read model and audit tell the same story."""
        self.all_ended()
        self.until(lambda: self._by_server(self.servers()) == self._read_model(), "they agree", 30)
        held = [tag for server in self.servers() for tag in server["tags"] if ":vm:" in tag]
        assert [vm for vm, times in Counter(held).items() if times > 1] == []
        self.until(self._audited, "audit has every command and its one end", 30)
        verdict = self.http.get("/v1/audit/verify").raise_for_status().json()
        assert verdict["valid"], verdict

    def _by_server(self, servers: list[Json]) -> dict[str, str]:
        states = {"ACTIVE": "active", "SHUTOFF": "stopped", "ERROR": "error", "BUILD": "building"}
        return {server["id"]: str(states.get(server["status"])) for server in servers}

    def _read_model(self) -> dict[str, str]:
        vms = self.http.get("/v1/vms?limit=1000").raise_for_status().json()["items"]
        held = [vm for vm in vms if vm["server_id"] and vm["state"] != "missing"]
        return {vm["server_id"]: vm["state"] for vm in held}

    def _audited(self) -> bool:
        return all(self._ends(each) == 1 for each in set(self.operations))

    def _ends(self, operation_id: str) -> int:
        """How many ends of an operation the audit has; an assertion that it has its command."""
        path = f"/v1/audit?operation_id={operation_id}&limit=1000"
        rows = self.http.get(path).raise_for_status().json()["items"]
        ids = [row["message_id"] for row in rows]
        assert len(set(ids)) == len(ids), "a message stands twice in the audit"
        ends = [row for row in rows if row["type"] in ENDS]
        assert len(ends) <= 1, f"{operation_id} ended {len(ends)} times"
        asked = any(row["message_id"] == operation_id for row in rows)
        return len(ends) if asked else 0


def _in_flight(answer: httpx.Response) -> bool:
    return answer.status_code == 409 and answer.json().get("code") == "in_flight"


def login(cloud: LocalCloud) -> Json:
    """What Keystone is asked for a token with, as clouds.yaml says."""
    import yaml  # noqa: PLC0415 - comes with openstacksdk

    auth = yaml.safe_load(cloud.clouds_yaml.read_text())["clouds"][cloud.name]["auth"]
    domain = {"name": auth.get("user_domain_name", "Default")}
    user = {"name": auth["username"], "password": auth["password"], "domain": domain}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": auth["project_name"], "domain": domain}},
        }
    }
