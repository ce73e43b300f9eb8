"""The OpenStack driver: one clouds.yaml entry; every order but `update` is one request to Nova."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from pydantic import BaseModel, ValidationError

from contracts.catalog.events import CatalogEvent
from contracts.vm.commands import Create, Update
from contracts.vm.states import CloudWord, VmState
from drivers.base import (
    ActionRecord,
    Driver,
    Fingerprints,
    Glanced,
    Glances,
    Inventories,
    Issued,
    Looked,
    Mark,
    Pauses,
    Powers,
    Reboots,
    Resource,
    Rests,
    Tenancies,
)
from drivers.openstack import actions, errors, inventory, orders, sweep
from drivers.openstack.calls import Call
from drivers.openstack.catalog import catalog
from drivers.openstack.cloud import Cloud
from drivers.openstack.settings import OpenStackSettings
from drivers.openstack.update import update


class _Ref(BaseModel):
    id: CloudWord


class _Created(BaseModel):
    server: _Ref


class OpenStackDriver(Driver, Powers, Reboots, Pauses, Inventories, Glances, Rests, Tenancies):
    """One account. What it needs of the cloud: Nova 2.79, Glance v2, Neutron v2; Cinder v3 if any."""

    def __init__(self, account: str, settings: OpenStackSettings | None = None) -> None:
        self.account = account
        self._cloud = Cloud(account, settings or OpenStackSettings())

    async def create(self, mark: Mark, wanted: Create, request_id: str) -> Issued:
        """One POST, with the mark in its tags."""
        body = orders.new_server(mark, wanted)
        call = Call("compute", "POST", "/servers", body=body, request_id=request_id)
        answer = await self._cloud.ask(call)
        try:
            server_id = _Created.model_validate_json(answer.content).server.id
        except ValidationError as error:
            raise errors.unreadable(call, answer) from error
        return orders.issued(server_id, answer)

    async def delete(self, server_id: str, request_id: str) -> Issued:
        """A server that is gone is a success."""
        call = orders.on_server("DELETE", "/servers/{id}", server_id, request_id)
        return await self._order(call, VmState.DELETED)

    async def update(self, server_id: str, wanted: Update, request_id: str) -> Issued:
        """One to four requests, by what is given."""
        return await update(self._cloud, server_id, wanted, request_id)

    async def start(self, server_id: str, request_id: str) -> Issued:
        """`os-start`."""
        return await self._act(server_id, {"os-start": None}, request_id, VmState.ACTIVE)

    async def stop(self, server_id: str, request_id: str) -> Issued:
        """`os-stop`."""
        return await self._act(server_id, {"os-stop": None}, request_id, VmState.STOPPED)

    async def reboot(self, server_id: str, *, hard: bool, request_id: str) -> Issued:
        """`reboot`, SOFT or HARD."""
        action = {"reboot": {"type": "HARD" if hard else "SOFT"}}
        return await self._act(server_id, action, request_id, None)

    async def pause(self, server_id: str, request_id: str) -> Issued:
        """`pause`."""
        return await self._act(server_id, {"pause": None}, request_id, VmState.PAUSED)

    async def unpause(self, server_id: str, request_id: str) -> Issued:
        """`unpause`."""
        return await self._act(server_id, {"unpause": None}, request_id, VmState.ACTIVE)

    async def find(self, mark: Mark) -> Looked:
        """By the VM's tag."""
        return await sweep.find(self._cloud, mark)

    async def look(self, server_id: str) -> Looked:
        """GET /servers/{id}."""
        return await sweep.look(self._cloud, server_id)

    def sweep(self, since: datetime | None) -> AsyncIterator[Looked]:
        """GET /servers/detail, with `changes-since`. Nova takes the tags off what it deletes."""
        return sweep.pages(self._cloud, sweep.changed_since(since))

    def glance(self, since: datetime | None, known: Fingerprints) -> AsyncIterator[Glanced]:
        """The same lists, with each server's JSON as it came."""
        return sweep.glances(self._cloud, sweep.changed_since(since), known)

    def catalog(self) -> AsyncIterator[CatalogEvent]:
        """Flavors, images, networks, key pairs."""
        return catalog(self._cloud)

    async def actions(
        self, server_id: str, request_id: str | None = None
    ) -> Sequence[ActionRecord]:
        """os-instance-actions: the latest 20, or the one."""
        if request_id is None:
            return await actions.latest(self._cloud, server_id)
        return await actions.one(self._cloud, server_id, request_id)

    def inventory(self) -> AsyncIterator[Sequence[Resource]]:
        """GET /ports, /floatingips and /volumes/detail, of the account's own project."""
        return inventory.inventory(self._cloud)

    async def belongings(self, mark: Mark, server_id: str | None) -> Sequence[Resource]:
        """The same lists, filtered by the mark; and the server's ports that Nova made."""
        return await inventory.belongings(self._cloud, mark, server_id)

    async def remove(self, resource: Resource, request_id: str) -> None:
        """A look at it and at its server, then DELETE."""
        if resource.kind == "server":
            await self.delete(resource.id, request_id)
        else:
            await inventory.remove(self._cloud, resource, request_id)

    async def ping(self) -> None:
        """The cheapest question that Nova answers only to those who may ask."""
        await self._cloud.ask(Call("compute", "GET", "/servers", params={"limit": "1"}))

    def rests_until(self) -> datetime | None:
        """While it said Retry-After, or answers nothing."""
        return self._cloud.rests_until()

    async def tenant(self) -> str:
        """The Keystone project that the login is for."""
        return await self._cloud.project()

    async def close(self) -> None:
        """Close the connections."""
        await self._cloud.close()

    async def _act(
        self, server_id: str, action: object, request_id: str, wanted: VmState | None
    ) -> Issued:
        template = "/servers/{id}/action"
        call = orders.on_server("POST", template, server_id, request_id, action)
        return await self._order(call, wanted)

    async def _order(self, call: Call, wanted: VmState | None) -> Issued:
        answer = await self._cloud.ask(call, accept=orders.CONTESTED)
        if answer.ok:
            return orders.issued(call.ids["id"], answer)
        return await orders.settle(self._cloud, call, answer, wanted)
