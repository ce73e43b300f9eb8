"""Sets a server's name, description, metadata and tags, each by its whole, so again does no harm."""

from pydantic import BaseModel, ValidationError

from contracts.vm.commands import Update
from contracts.vm.fields import MARK
from drivers.base import Issued
from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.cloud import Cloud
from drivers.openstack.orders import CONTESTED, issued, on_server, settle


class _Tags(BaseModel):
    tags: list[str]


async def update(cloud: Cloud, server_id: str, wanted: Update, request_id: str) -> Issued:
    """One request each for texts and metadata; for tags a look, and one if they differ."""
    last: Issued | None = None
    for template, body in _bodies(wanted):
        last = await _put(cloud, on_server("PUT", template, server_id, request_id, body))
    if wanted.tags is not None:
        last = await _retag(cloud, server_id, wanted.tags, request_id)
    if last is None:
        raise ValueError("an update gives at least one field")
    return last


def _bodies(wanted: Update) -> list[tuple[str, object]]:
    texts = {"name": wanted.name, "description": wanted.description}
    given = {field: text for field, text in texts.items() if text is not None}
    bodies: list[tuple[str, object]] = []
    if given:
        bodies.append(("/servers/{id}", {"server": given}))
    if wanted.metadata is not None:
        bodies.append(("/servers/{id}/metadata", {"metadata": wanted.metadata}))
    return bodies


async def _put(cloud: Cloud, call: Call) -> Issued:
    answer = await cloud.ask(call, accept=CONTESTED)
    return issued(call.ids["id"], answer) if answer.ok else await settle(cloud, call, answer, None)


async def _retag(cloud: Cloud, server_id: str, tags: list[str], request_id: str) -> Issued:
    """Nova has no way to set some tags: Hostler's own are read and written back."""
    call = Call("compute", "GET", "/servers/{id}/tags", ids={"id": server_id})
    answer = await cloud.ask(call, accept=CONTESTED)
    if not answer.ok:
        return await settle(cloud, call, answer, None)
    present = _tags(call, answer)
    marks = [tag for tag in present if tag.startswith(MARK)]
    if set(present) == {*tags, *marks}:
        return issued(server_id, answer)
    body = {"tags": [*tags, *marks]}
    return await _put(cloud, on_server("PUT", "/servers/{id}/tags", server_id, request_id, body))


def _tags(call: Call, answer: Answer) -> list[str]:
    try:
        return _Tags.model_validate_json(answer.content).tags
    except ValidationError as error:
        raise errors.unreadable(call, answer) from error
