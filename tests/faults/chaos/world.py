"""Everything that can be seen from outside at the end of a run, read once."""

import json
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import httpx

from tests.faults.chaos.callers import Book, Json, Servers
from tests.faults.chaos.followers import Follower
from tests.faults.chaos.journal import Journal
from tests.faults.chaos.kafka import Said, read
from tests.faults.chaos.plan import Mishap

FINAL = {"succeeded", "failed", "cancelled"}
ENDS = {f"operation.{state}.v1" for state in FINAL}
TOPICS = ("vm.commands", "vm.events", "vm.state", "cloud.inventory", "dead.letters")
NOT_NOW = 503
PATIENCE_SECONDS = 120.0


@dataclass
class Outside:
    """Gateway, cloud and Kafka, as a client of each sees them."""

    http: httpx.Client
    servers: Servers
    book: Book
    followers: list[Follower]
    logs: Path
    poisons: set[bytes]
    journal: Journal
    planned: list[Mishap] = field(default_factory=list[Mishap])
    topics: dict[str, list[Said]] = field(default_factory=dict[str, list[Said]])

    async def read_kafka(self, address: str) -> None:
        for topic in TOPICS:
            self.topics[topic] = await read(address, topic)

    def get(self, path: str) -> Json:
        """An answer. A 503 says "ask again": it is asked again for a while, as any client would."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.http.get(path, timeout=PATIENCE_SECONDS)
            if answer.status_code != NOT_NOW or time.monotonic() > end:
                return answer.raise_for_status().json()
            time.sleep(1)

    def pages(self, path: str) -> list[Json]:
        """All items of a list, page by page."""
        found: list[Json] = []
        following: str | None = path
        while following:
            page = self.get(following)
            found += page["items"]
            following = page["links"]["next"]
        return found

    def open_operations(self) -> list[Json]:
        """Those that have not ended."""
        states = "&".join(f"state={state}" for state in ("queued", "running", "waiting"))
        return self.pages(f"/v1/operations?limit=200&{states}")

    def present(self) -> dict[str, tuple[str, str]]:
        """VM → its server and state, as the read model holds those that are in the cloud."""
        vms = self.pages("/v1/vms?limit=200")
        held = [vm for vm in vms if vm["server_id"] and vm["state"] != "missing"]
        return {vm["id"]: (vm["server_id"], vm["state"]) for vm in held}

    def in_cloud(self) -> list[tuple[str, str, str]]:
        """VM, server and state of each server with a VM: by its mark, or imported."""
        states = {
            "ACTIVE": "active",
            "BUILD": "building",
            "ERROR": "error",
            "PAUSED": "paused",
            "SHUTOFF": "stopped",
        }
        imported = {server: vm for vm, (server, _) in self.present().items()}
        found: list[tuple[str, str, str]] = []
        for server in self.servers.all():
            marks = [t for t in server["tags"] if t.startswith("hostler:vm:")]
            vm = marks[0].removeprefix("hostler:vm:") if marks else imported.get(server["id"])
            if vm is not None:
                status = str(server["status"])
                found.append((vm, server["id"], states.get(status, status)))
        return found

    @cached_property
    def operations(self) -> dict[str, Json]:
        return {each["id"]: each for each in self.pages("/v1/operations?limit=200")}

    @cached_property
    def vms(self) -> dict[str, Json]:
        """All that the read model has ever held, deleted ones too."""
        every = [
            "requested", "building", "active", "stopped", "paused", "suspended", "shelved",
            "rescued", "resized", "error", "deleted", "missing", "unknown",
        ]  # fmt: skip
        states = "&".join(f"state={state}" for state in every)
        return {each["id"]: each for each in self.pages(f"/v1/vms?limit=200&{states}")}

    @cached_property
    def audit(self) -> list[Json]:
        return self.pages("/v1/audit?limit=1000")

    @cached_property
    def ends(self) -> dict[str, list[str]]:
        """Operation → the ends that audit has of it."""
        found: dict[str, list[str]] = defaultdict(list)
        for row in self.audit:
            if row["type"] in ENDS:
                found[row["operation_id"]].append(row["type"])
        return found

    def once(self, topic: str) -> list[Said]:
        """The messages of a topic, each where it came first; without what is no message."""
        first: dict[str, Said] = {}
        for said in self.topics[topic]:
            if said.id:
                first.setdefault(said.id, said)
        return list(first.values())

    @cached_property
    def picture(self) -> dict[str, Json]:
        """VM → its latest snapshot, for one who joins now and reads vm.state and vm.events."""
        latest: dict[str, tuple[int, Json]] = {}
        for said in [*self.topics["vm.state"], *self.once("vm.events")]:
            if said.type in {"vm.state.v1", "vm.changed.v1"} and said.value:
                version, vm = int(said.data["version"]), cast("Json", said.data["vm"])
                if version > latest.get(said.key, (-1, vm))[0]:
                    latest[said.key] = (version, vm)
        return {vm: snapshot for vm, (_, snapshot) in latest.items()}

    @cached_property
    def states(self) -> dict[str, Json]:
        """VM → what its last record on vm.state says: all that is left once it is compacted."""
        last = {said.key: said for said in self.topics["vm.state"]}
        return {vm: cast("Json", said.data["vm"]) for vm, said in last.items() if said.value}

    def orphans(self) -> set[str]:
        """Servers that were told to be orphans, of creates that an operator gave up."""
        given_up = {
            operation["vm_id"]
            for operation in self.operations.values()
            if operation["command"] == "vm.create.v1"
            and operation["error"] is not None
            and operation["error"]["code"] == "abandoned"
        }
        found = (s for s in self.topics["cloud.inventory"] if s.type == "orphan.found.v1")
        return {said.key.rpartition("/")[2] for said in found if said.data["vm_id"] in given_up}

    def tracebacks(self) -> dict[str, list[str]]:
        """The last line of each traceback in the services' logs → the logs that hold it."""
        found: dict[str, list[str]] = defaultdict(list)
        for log in sorted(self.logs.glob("*.log")):
            if log.stem.partition(".")[0] in {"gateway", "provisioner", "sync", "audit"}:
                for line in log.read_text(errors="replace").splitlines():
                    if "Traceback" in line:
                        found[_last_line(line)].append(log.name)
        return found


def _last_line(line: str) -> str:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return line[:200]
    said = [each for each in str(event.get("exc_info", "")).splitlines() if each.strip()]
    last = next((s for s in reversed(said) if re.match(r"[\w.]+(Error|Exception|\w+):?", s)), line)
    return f"{event.get('message', '')[:120]} | {last[:200]}"
