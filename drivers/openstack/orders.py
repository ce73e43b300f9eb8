"""What the driver asks of Nova: the bodies of its orders, and what a conflict over one means."""

from http import HTTPStatus
from typing import Literal

from chassis.errors import Retry, Terminal
from contracts.errors import ErrorCode
from contracts.vm.commands import Create
from contracts.vm.states import VmState
from drivers.base import Issued, Mark
from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.cloud import Cloud
from drivers.openstack.servers import marking
from drivers.openstack.sweep import look


def new_server(mark: Mark, wanted: Create) -> dict[str, object]:
    """The body of POST /servers. What is not given is left out: Nova takes no empty values."""
    optional = {
        "key_name": wanted.key_name,
        "user_data": wanted.user_data,
        "availability_zone": wanted.availability_zone,
        "description": wanted.description,
        "security_groups": [{"name": name} for name in wanted.security_groups] or None,
    }
    return {
        "server": {
            "name": wanted.name,
            "flavorRef": wanted.flavor,
            "imageRef": wanted.image,
            "networks": _networks(wanted.networks),
            "metadata": wanted.metadata,
            "tags": [*wanted.tags, *marking(mark)],
            **{name: value for name, value in optional.items() if value is not None},
        }
    }


def _networks(wanted: list[str] | None) -> object:
    if wanted is None:
        return "auto"
    return [{"uuid": network} for network in wanted] or "none"


def on_server(
    method: Literal["POST", "PUT", "DELETE"],
    template: str,
    server_id: str,
    request_id: str,
    body: object = None,
) -> Call:
    """An order about the server that stands for `{id}` in the template."""
    return Call(
        "compute", method, template, ids={"id": server_id}, body=body, request_id=request_id
    )


def issued(server_id: str, answer: Answer) -> Issued:
    """The cloud has taken it."""
    return Issued(server_id, answer.taken_at, answer.cloud_request_id)


CONTESTED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
"""Refusals that only a look at the server explains. Nova answers 404 to orders about a server that
is still being scheduled, though it lists it."""


async def settle(cloud: Cloud, call: Call, contest: Answer, wanted: VmState | None) -> Issued:
    """What a contested order means, by a look at the server.

    A success where the server is in the `wanted` state already and left in peace; Retry while
    something is done with it; else the cloud's no.
    """
    ending = errors.refusal(call, contest)
    if isinstance(ending, Retry):
        raise ending
    server_id = call.ids["id"]
    looked = await look(cloud, server_id)
    if not looked.servers and wanted is not VmState.DELETED:
        raise Terminal(ErrorCode.NO_SERVER, ending.detail)
    vm = looked.servers[0].snapshot if looked.servers else None
    if vm is None or (vm.state is wanted and vm.task is None):
        return Issued(server_id, looked.clock, contest.cloud_request_id)
    # The server may have come to rest between the refusal and the look.
    passing = ending.code is ErrorCode.NO_SERVER or "task_state" in ending.detail
    if passing or vm.task or vm.state is VmState.BUILDING:
        raise Retry(ErrorCode.CLOUD_BUSY, ending.detail, after=cloud.settings.busy_after)
    raise ending
