"""The cloud under test: the one that OS_CLOUD names, else a simulator in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import openstack

JsonObject = Mapping[str, Any]
Make = Callable[..., str]
"""Makes a server of these fields and gives its id."""
PATIENCE = 60.0  # seconds for anything a cloud does by itself


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `body` is the parsed JSON object, empty where there is none."""

    status: int
    headers: Mapping[str, str]
    text: str
    body: JsonObject

    @property
    def message(self) -> str:
        """The sentence in an OpenStack error body."""
        return str(next(iter(self.body.values()))["message"])


class Tenant:
    """A caller of the cloud, by the names that its clouds.yaml gives."""

    def __init__(self, cloud: str) -> None:
        self.cloud = cloud
        # openstacksdk ships no types; what leaves this class is parsed
        self.sdk: Any = openstack.connect(cloud=cloud)
        self.project_id = str(self.sdk.current_project_id)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        service: str = "compute",
        version: str | None = "2.96",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with the tenant's token; `path` is below the service's endpoint."""
        proxy = getattr(self.sdk, service)
        more: dict[str, object] = (
            {"microversion": version} if service == "compute" and version else {}
        )
        if body is not None:
            more["json"] = body
        response = proxy.request(path, method, raise_exc=False, headers=dict(headers or {}), **more)
        is_json = "json" in response.headers.get("Content-Type", "") and response.text
        parsed: JsonObject = cast("JsonObject", response.json()) if is_json else {}
        return Answer(response.status_code, dict(response.headers), response.text, parsed)

    def named(self, service: str, collection: str, name: str) -> str:
        """The id of a flavor, image or network of that name."""
        for item in getattr(getattr(self.sdk, service), collection)():
            if item.name == name:
                return str(item.id)
        raise LookupError(f"{self.cloud} has no {name} among its {collection}")

    def server(self, server_id: str, version: str = "2.96") -> JsonObject:
        """GET one server; empty where it is not any more."""
        return self.call("GET", f"/servers/{server_id}", version=version).body.get("server", {})

    def wait(
        self, server_id: str, done: Callable[[JsonObject], bool]
    ) -> list[tuple[str, str | None]]:
        """Look until it is so; every (status, task_state) seen on the way."""
        seen: list[tuple[str, str | None]] = []
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            server = self.server(server_id)
            if server:
                state = (str(server["status"]), server["OS-EXT-STS:task_state"])
                if not seen or seen[-1] != state:
                    seen.append(state)
            if done(server):
                return seen
            time.sleep(0.02)
        raise TimeoutError(f"server {server_id} went through {seen} and no further")

    def settled(self, server_id: str, status: str) -> list[tuple[str, str | None]]:
        """Wait until the server has that status and no task."""
        return self.wait(
            server_id,
            lambda s: bool(s) and s["status"] == status and s["OS-EXT-STS:task_state"] is None,
        )

    def gone(self, server_id: str) -> list[tuple[str, str | None]]:
        """Wait until the server is not found."""
        return self.wait(server_id, lambda s: not s)


@dataclass(frozen=True)
class Cloud:
    """Two tenants of one cloud; `other` keeps the small default quota. `control` is the simulator's."""

    demo: Tenant
    other: Tenant
    control: str | None = None


@contextmanager
def simulator(folder: Path, *arguments: str) -> Generator[tuple[Path, str]]:
    """A simulator in a process of its own; its clouds.yaml and its root URL."""
    clouds = folder / "clouds.yaml"
    command = [sys.executable, "-m", "simulator", "--clouds-yaml", str(clouds), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield clouds, line.split()[3]
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


@contextmanager
def cloud_under_test(folder: Path) -> Generator[Cloud]:
    """OS_CLOUD (its second tenant is OS_CLOUD_OTHER, `other` by default), else the simulator."""
    named = os.environ.get("OS_CLOUD")
    if named:
        yield Cloud(Tenant(named), Tenant(os.environ.get("OS_CLOUD_OTHER", "other")))
        return
    before = os.environ.get("OS_CLIENT_CONFIG_FILE")
    with simulator(folder, "--build-seconds", "0.4") as (clouds, url):
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds)
        try:
            yield Cloud(Tenant("simulator"), Tenant("simulator-other"), url + "/control")
        finally:
            os.environ.pop("OS_CLIENT_CONFIG_FILE")
            if before is not None:
                os.environ["OS_CLIENT_CONFIG_FILE"] = before
