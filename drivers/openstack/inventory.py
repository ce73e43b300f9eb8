"""What belongs to servers besides themselves: listed, found by its mark, and removed."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus

from pydantic import ValidationError

from chassis.errors import Retry, Terminal
from contracts.errors import ErrorCode
from drivers.base import Mark, Resource
from drivers.governor import Lane
from drivers.openstack import errors
from drivers.openstack.belongings import (
    WHERE,
    Belonging,
    BelongingsPage,
    FloatingIps,
    Port,
    Ports,
    Volumes,
    read_one,
)
from drivers.openstack.calls import Answer, Call, Service
from drivers.openstack.cloud import Cloud
from drivers.openstack.pages import pages
from drivers.openstack.servers import metadata_filter, vm_tag
from drivers.openstack.sweep import look

_LISTS: tuple[tuple[Service, str, type[BelongingsPage]], ...] = (
    ("network", "/ports", Ports),
    ("network", "/floatingips", FloatingIps),
    ("volume", "/volumes/detail", Volumes),
)
_IN_USE = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


async def inventory(cloud: Cloud) -> AsyncIterator[Sequence[Resource]]:
    """All of the account's project, by pages: Retry where one cannot be had."""
    for service, path, model in _LISTS:
        async for page in _listed(cloud, service, path, model, {}, Lane.SWEEP):
            yield [each.resource() for each in page if each.may_be_a_vms]


async def belongings(cloud: Cloud, mark: Mark, server_id: str | None) -> Sequence[Resource]:
    """What carries the mark, and the ports that Nova made for the server."""
    found: dict[str, Resource] = {}
    tag = {"tags": vm_tag(mark)}
    for service, path, model in _LISTS:
        filters = tag if service == "network" else {"metadata": json.dumps(metadata_filter(mark))}
        async for page in _listed(cloud, service, path, model, filters):
            marked = [each.resource() for each in page if each.may_be_a_vms]
            found |= {each.id: each for each in marked if each.mark == mark}
    if server_id is not None:
        async for page in _listed(cloud, "network", "/ports", Ports, {"device_id": server_id}):
            ports = [each for each in page if isinstance(each, Port) and each.made_by_nova]
            found |= {each.id: each.resource() for each in ports if each.device_id == server_id}
    return list(found.values())


async def remove(cloud: Cloud, resource: Resource, request_id: str) -> None:
    """Look at it once more, and at the server that has it; delete it only if nobody needs it."""
    service, path = WHERE[resource.kind]
    there = await _one(cloud, resource)
    if there is None or there.going:
        return
    await _check(cloud, resource, there)
    call = Call(service, "DELETE", path, ids={"id": resource.id}, request_id=request_id)
    answer = await cloud.ask(call, accept=_IN_USE)
    if answer.ok or errors.is_gone(answer):
        return
    if answer.status == HTTPStatus.NOT_FOUND:
        raise errors.refusal(call, answer)
    raise _busy(cloud, errors.words(answer))


async def _listed(  # noqa: PLR0917 - a list is where, what and which
    cloud: Cloud,
    service: Service,
    path: str,
    model: type[BelongingsPage],
    filters: Mapping[str, str],
    lane: Lane = Lane.COMMAND,
) -> AsyncIterator[Sequence[Belonging]]:
    """By pages; none where the cloud has no such service."""
    own = service == "network"  # Cinder shows operators their own project's too
    call = Call(service, "GET", path, params=filters, lane=lane, own=own)
    try:
        async for page in pages(cloud, call, model):
            yield page.found
    except Terminal as no:
        if no.code is not ErrorCode.UNSUPPORTED or service != "volume":
            raise


async def _one(cloud: Cloud, resource: Resource) -> Belonging | None:
    """What it is now; None if it is gone."""
    service, path = WHERE[resource.kind]
    call = Call(service, "GET", path, ids={"id": resource.id})
    answer = await cloud.ask(call, accept=(HTTPStatus.NOT_FOUND,))
    if errors.is_gone(answer):
        return None
    if not answer.ok:
        raise errors.refusal(call, answer)
    return _read(call, resource, answer)


def _read(call: Call, resource: Resource, answer: Answer) -> Belonging:
    try:
        return read_one(resource.kind, answer.content)
    except ValidationError as error:
        raise errors.unreadable(call, answer) from error


async def _check(cloud: Cloud, resource: Resource, there: Belonging) -> None:
    """Retry if it is another's meanwhile, or in use by a server that lives, or by something else."""
    now = there.resource()
    if now.mark != resource.mark or now.server_id not in (None, resource.server_id):
        raise _busy(cloud, f"The {resource.kind} has changed hands.")
    if there.held:
        raise _busy(cloud, f"The {resource.kind} is in use.")
    if now.server_id is not None and (await look(cloud, now.server_id)).servers:
        raise _busy(cloud, f"The {resource.kind} is in use by the server {now.server_id}.")


def _busy(cloud: Cloud, words: str) -> Retry:
    return Retry(ErrorCode.CLOUD_BUSY, words, after=cloud.settings.busy_after)
