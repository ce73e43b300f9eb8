"""Callers that command VMs at random, each request with a key, asked of either gateway till answered."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from tests.faults.chaos.journal import Journal

Json = dict[str, Any]
PATIENCE = 240.0
MOST_VMS = 24
PAUSE_SECONDS = 1.2
BY_STATE = {
    "active": ("stop", "reboot", "pause", "sync"),
    "stopped": ("start", "sync"),
    "paused": ("unpause", "sync"),
    "error": ("stop", "sync"),
}
VERBS = ("start", "stop", "reboot", "pause", "unpause", "sync")
STEERING = ("cancel", "retry", "abandon", "import")
REFUSALS = {400, 404, 409, 412, 422}
IMPORT_TRIES = 60
"""A server that somebody has just made is not known before a sweep has seen it."""


@dataclass
class Asked:
    """One command as a caller saw it. `operation` is None where it was refused or never known."""

    caller: str
    command: str
    method: str
    path: str
    body: Json | None
    key: str
    status: int | None = None
    operation: Json | None = None
    tries: int = 0

    @property
    def is_unknown(self) -> bool:
        """Whether the caller never learned what became of it."""
        return self.status is None

    @property
    def is_accepted(self) -> bool:
        return self.operation is not None


@dataclass
class Book:
    """What all callers know, at the end of the run."""

    asked: list[Asked] = field(default_factory=list[Asked])
    strange: list[str] = field(default_factory=list[str])
    """Answers that no caller should ever get."""

    def accepted(self) -> dict[str, Asked]:
        """By the operation's id; commands on operations (cancel …) make none of their own."""
        made = [a for a in self.asked if a.operation and not a.command.startswith("operation.")]
        return {str(cast("Json", a.operation)["id"]): a for a in made}


class Caller(threading.Thread):
    """Asks until told to stop, and then until its last request is answered."""

    def __init__(
        self,
        name: str,
        gateways: list[str],
        api_key: str,
        *,
        dice: random.Random,
        book: Book,
        journal: Journal,
        outside: "Outside",
        offered: frozenset[str],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.dice = dice
        self.book = book
        self.journal = journal
        self.outside = outside
        self.offered = offered
        self.over = threading.Event()
        self._clients = [
            httpx.Client(
                base_url=url,
                headers={"X-API-Key": api_key},
                timeout=httpx.Timeout(8.0),
                trust_env=False,
            )
            for url in gateways
        ]
        self._count = 0
        self._recent: list[str] = []
        """Ids of its latest operations."""

    def run(self) -> None:
        try:
            while not self.over.wait(self.dice.expovariate(1 / PAUSE_SECONDS)):
                for asked in self._choose():
                    self._ask(asked)
        except Exception as error:  # noqa: BLE001 - a caller that broke off is told at the end
            self.book.strange.append(f"{self.name} broke off: {error!r}")
        finally:
            for client in self._clients:
                client.close()

    def _choose(self) -> Iterator[Asked]:
        vms = self._vms()
        crowded = len(vms) >= MOST_VMS
        kinds = {
            "create": 1 if crowded else 5,
            "act": 7,
            "update": 3,
            "delete": 6 if crowded else 2,
        }
        kinds |= {kind: 1 for kind in STEERING if any(p.endswith(kind) for p in self.offered)}
        (kind,) = self.dice.choices([*kinds], [*kinds.values()])
        vm = self.dice.choice(vms) if vms else None
        match kind:
            case "create":
                yield self._create()
            case "import":
                server = None if crowded else self.outside.stranger(self.dice)
                if server is not None:
                    yield self._asked(
                        "vm.import.v1", "POST", "/v1/vms/import", {"server_ids": [server]}
                    )
            case "cancel" | "retry" | "abandon" if self._recent:
                target = self.dice.choice(self._recent[-4:])
                path = f"/v1/operations/{target}/{kind}"
                yield self._asked(f"operation.{kind}.v1", "POST", path, None)
            case "act" if vm:
                verb = self._verb(str(vm["state"]))
                body = {"hard": True} if verb == "reboot" and self.dice.random() < 0.5 else None
                yield self._asked(f"vm.{verb}.v1", "POST", f"/v1/vms/{vm['id']}/{verb}", body)
            case "update" if vm:
                yield self._asked("vm.update.v1", "PATCH", f"/v1/vms/{vm['id']}", self._changes())
            case "delete" if vm:
                yield self._asked("vm.delete.v1", "DELETE", f"/v1/vms/{vm['id']}", None)
            case _:
                return

    def _vms(self) -> list[Json]:
        try:
            answer = self.dice.choice(self._clients).get("/v1/vms?limit=100&sort=created_at")
        except httpx.HTTPError:
            return []
        return cast("list[Json]", answer.json()["items"]) if answer.status_code == 200 else []

    def _verb(self, state: str) -> str:
        blind = self.dice.random() < 0.15
        return self.dice.choice(VERBS if blind else BY_STATE.get(state, VERBS))

    def _create(self) -> Asked:
        body: Json = {
            "name": f"{self.name}-{self._count}",
            "flavor": "m1.nano",
            "image": "tiny-raw",
            "networks": ["private"],
            "on_failure": self.dice.choice(["keep", "delete", "retry"]),
        }
        if self.dice.random() < 0.3:
            body |= {"tags": [f"t{self.dice.randint(1, 3)}"], "metadata": {"by": self.name}}
        return self._asked("vm.create.v1", "POST", "/v1/vms", body)

    def _changes(self) -> Json:
        changes: Json = {
            "name": f"{self.name}-renamed-{self._count}",
            "description": f"change {self._count}",
            "metadata": {"change": str(self._count)},
            "tags": [f"c{self._count % 5}"],
        }
        kept = self.dice.sample([*changes], self.dice.randint(1, 3))
        return {name: changes[name] for name in sorted(kept)}

    def _asked(self, command: str, method: str, path: str, body: Json | None) -> Asked:
        self._count += 1
        key = f"{self.name}-{self._count}-{self.dice.getrandbits(32):08x}"
        asked = Asked(self.name, command, method, path, body, key)
        self.book.asked.append(asked)
        return asked

    def _ask(self, asked: Asked) -> None:
        """Ask with the same key until there is an answer; one in twenty callers dies after asking."""
        if self.dice.random() < 0.05:
            self._send(asked, timeout=self.dice.uniform(0.001, 0.05))
            return
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self._send(asked)
            if answer is not None and self._is_final(asked, answer):
                self._take(asked, answer)
                if asked.is_accepted and self.dice.random() < 0.1:
                    self._again(asked)
                return
            time.sleep(self.dice.uniform(0.1, 0.6))
        self.journal.note(self.name, f"{asked.command} {asked.path} was never answered")

    def _send(self, asked: Asked, timeout: float = 8.0) -> httpx.Response | None:
        asked.tries += 1
        headers = {"Idempotency-Key": asked.key}
        client = self.dice.choice(self._clients)
        try:
            return client.request(
                asked.method, asked.path, json=asked.body, headers=headers, timeout=timeout
            )
        except httpx.HTTPError:
            self.journal.count("requests without an answer")
            return None

    def _is_final(self, asked: Asked, answer: httpx.Response) -> bool:
        if answer.status_code in {429, 503}:
            self.journal.count(f"requests answered {answer.status_code}")
            return False
        if answer.status_code == 404 and asked.command == "vm.import.v1":
            return asked.tries >= IMPORT_TRIES
        return not (answer.status_code == 409 and answer.json().get("code") == "in_flight")

    def _take(self, asked: Asked, answer: httpx.Response) -> None:
        asked.status = answer.status_code
        said = f"{asked.command} {asked.path} {asked.key}: {answer.status_code}"
        if answer.status_code in {200, 202}:
            made = asked.operation = _operation(answer)
            self._recent.append(str(made["id"]))
            said += f" {made['id']} vm {made.get('vm_id')}"
        elif answer.status_code not in REFUSALS:
            self.book.strange.append(f"{said} {answer.text[:300]}")
        self.journal.note(self.name, said)

    def _again(self, asked: Asked) -> None:
        """The same request once more leads to the same operation."""
        answer = self._send(asked)
        if (
            answer is None
            or not self._is_final(asked, answer)
            or asked.command.startswith("operation.")
        ):
            return
        first = str(cast("Json", asked.operation)["id"])
        same = answer.status_code in {200, 202} and _operation(answer)["id"] == first
        self.journal.count("requests repeated after their answer")
        if not same:
            self.book.strange.append(f"{asked.key} again: {answer.status_code} {answer.text[:300]}")


def _operation(answer: httpx.Response) -> Json:
    """The operation that was made; an import answers with a page of them."""
    said = cast("Json", answer.json())
    return cast("Json", said["items"][0]) if "items" in said else said


class Outside:
    """What others do in the cloud: servers that Hostler has not made."""

    def __init__(self, cloud_url: str, servers: "Servers") -> None:
        self._control = httpx.Client(base_url=f"{cloud_url}/control", timeout=10, trust_env=False)
        self._servers = servers
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    def stranger(self, dice: random.Random) -> str | None:
        """The id of a server that somebody else has made; None while the cloud does not answer."""
        name = f"stranger-{dice.getrandbits(24):06x}"
        try:
            with self._lock:
                self._control.post("/servers", json={"count": 1, "name": name}).raise_for_status()
                made = [s for s in self._servers.all() if s["name"].startswith(name)]
        except (httpx.HTTPError, KeyError):
            return None
        return str(made[0]["id"]) if made else None


class Servers:
    """The servers of the project as Nova lists them."""

    def __init__(self, cloud_url: str, login: Json) -> None:
        self._url = cloud_url
        self._login = login
        self._http = httpx.Client(timeout=20, trust_env=False)

    def all(self) -> list[Json]:
        """As many tries as it takes to get past the faults that were ordered."""
        for _ in range(9):
            try:
                return self._list()
            except (httpx.HTTPError, KeyError):
                time.sleep(0.3)
        return self._list()

    def _list(self) -> list[Json]:
        token = self._http.post(f"{self._url}/identity/v3/auth/tokens", json=self._login)
        headers = {
            "X-Auth-Token": token.headers["X-Subject-Token"],
            "OpenStack-API-Version": "compute 2.79",
        }
        answer = self._http.get(
            f"{self._url}/compute/v2.1/servers/detail?limit=1000", headers=headers
        )
        return cast("list[Json]", answer.raise_for_status().json()["servers"])

    def marked(self) -> list[Json]:
        """Those that carry Hostler's mark."""
        return [s for s in self.all() if vm_of(s) is not None]


def vm_of(server: Json) -> str | None:
    """The VM that a server's mark names."""
    tags = [t for t in server["tags"] if t.startswith("hostler:vm:")]
    return tags[0].removeprefix("hostler:vm:") if tags else None
