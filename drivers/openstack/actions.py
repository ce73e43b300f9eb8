"""What Nova remembers of the requests on one server: os-instance-actions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

from pydantic import BaseModel, ValidationError

from drivers.base import ActionRecord
from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.cloud import Cloud

_LATEST = 20


class _Event(BaseModel):
    finish_time: datetime | None = None
    result: str | None = None


class _Action(BaseModel):
    action: str
    request_id: str
    start_time: datetime
    message: str | None = None
    events: list[_Event] | None = None

    def record(self) -> ActionRecord:
        """`finished` says that no step of it is known to run: Nova has no word for the whole."""
        steps = self.events or []
        failed = bool(self.message) or any(e.result not in (None, "Success") for e in steps)
        return ActionRecord(
            action=self.action,
            request_id=self.request_id,
            started_at=self.start_time.replace(tzinfo=UTC),
            failed=failed,
            finished=failed or (bool(steps) and all(e.finish_time for e in steps)),
            message=self.message,
        )


class _List(BaseModel):
    instanceActions: list[_Action]  # noqa: N815 - Nova's spelling


class _One(BaseModel):
    instanceAction: _Action  # noqa: N815 - Nova's spelling


async def latest(cloud: Cloud, server_id: str) -> Sequence[ActionRecord]:
    """The latest 20, the last one first: one call for the list and one for each one's steps."""
    call = Call(
        "compute",
        "GET",
        "/servers/{id}/os-instance-actions",
        ids={"id": server_id},
        params={"limit": str(_LATEST)},
    )
    answer = await cloud.ask(call, accept=(HTTPStatus.NOT_FOUND,))
    if not answer.ok:
        _check_missing(call, answer)
        return []
    try:
        listed = _List.model_validate_json(answer.content).instanceActions
    except ValidationError as error:
        raise errors.unreadable(call, answer) from error
    records = [await one(cloud, server_id, action.request_id) for action in listed]
    return [record for found in records for record in found]


async def one(cloud: Cloud, server_id: str, request_id: str) -> Sequence[ActionRecord]:
    """The one that Nova took under this request id of its own; [] if there is none."""
    call = Call(
        "compute",
        "GET",
        "/servers/{id}/os-instance-actions/{request}",
        ids={"id": server_id, "request": request_id},
    )
    answer = await cloud.ask(call, accept=(HTTPStatus.NOT_FOUND,))
    if not answer.ok:
        _check_missing(call, answer)
        return []
    try:
        return [_One.model_validate_json(answer.content).instanceAction.record()]
    except ValidationError as error:
        raise errors.unreadable(call, answer) from error


def _check_missing(call: Call, answer: Answer) -> None:
    """Raise unless it is Nova that knows no such thing."""
    if not errors.is_no_server(call, answer):
        raise errors.refusal(call, answer)
