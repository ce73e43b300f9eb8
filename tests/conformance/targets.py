"""The drivers under test, each with the cloud that it is tried on."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from deploy.local.cloud import GivenCloud, LocalCloud
from drivers.base import Driver
from drivers.openstack.driver import OpenStackDriver
from drivers.openstack.settings import OpenStackSettings
from tests.conformance.cloud import Tenant

DRIVERS = ("openstack",)
"""What the suite runs over: a driver is one name here and one branch in `opened`."""


class Control:
    """The control API of a simulated cloud (see simulator/control.py)."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def order(self, path: str, **body: object) -> None:
        self._client.post(path, json=body).raise_for_status()

    def forget(self, path: str) -> None:
        self._client.delete(path).raise_for_status()

    def calls(self, **query: str) -> list[tuple[str, str]]:
        """Method and path template of the calls made, the oldest first."""
        answer = self._client.get("/calls", params=query).raise_for_status()
        return [(call["method"], call["template"]) for call in answer.json()["calls"]]


@dataclass(frozen=True)
class Target:
    """An account on a cloud. `control` orders faults, where the cloud is a simulated one.

    `tenant` is the id of the account's project as the cloud's own tools tell it.
    """

    account: str
    paged: Callable[[int], Driver]
    control: Control | None
    tenant: str


@contextmanager
def opened(kind: str, cloud: LocalCloud | GivenCloud) -> Generator[Target]:
    """The account that a kind of driver is tried on; `paged` makes a driver by its page size."""
    match kind:
        case "openstack":
            with _openstack(cloud) as target:
                yield target
        case _:
            raise LookupError(f"say here on which cloud the {kind} driver is tried")


@contextmanager
def _openstack(cloud: LocalCloud | GivenCloud) -> Generator[Target]:
    def paged(size: int) -> Driver:
        return OpenStackDriver(cloud.name, OpenStackSettings(page_size=size))

    with _clouds_yaml(cloud):
        tenant = Tenant(cloud.name).project_id
        if isinstance(cloud, GivenCloud):
            yield Target(cloud.name, paged, None, tenant)
            return
        with httpx.Client(base_url=f"{cloud.url}/control", trust_env=False) as control:
            yield Target(cloud.name, paged, Control(control), tenant)


@contextmanager
def _clouds_yaml(cloud: LocalCloud | GivenCloud) -> Generator[None]:
    variable = "OS_CLIENT_CONFIG_FILE"
    before = os.environ.get(variable)
    if cloud.clouds_yaml is not None:
        os.environ[variable] = str(cloud.clouds_yaml)
    yield
    if before is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = before
