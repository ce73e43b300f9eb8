"""What a cloud's refusals, failures and silences mean: each becomes Retry or Terminal."""

import re
from datetime import timedelta
from http import HTTPStatus

import requests
import yaml
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from chassis.errors import HostlerError, Retry, Terminal
from contracts.errors import ErrorCode
from drivers.openstack.calls import Answer, Call
from drivers.openstack.clock import http_date

_QUOTA = re.compile(
    r"quota|too many (instances|ports|servers)|limit (is )?(exceeded|reached)", re.IGNORECASE
)
_PATTERN = re.compile(r"does not match '.{80,}", re.DOTALL)
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(seconds=1), timedelta(minutes=5)
"""What a `Retry-After` is worth: 0 would be a hot loop, a day an account that nobody can use."""
_LONGEST_DETAIL = 1000

Ending = Retry | Terminal


def refusal(call: Call, answer: Answer) -> Ending:
    """What an answer that is not a success means."""
    said, after = words(answer), retry_after(answer)
    status = answer.status
    if status in (401, 404, 408, 429) or not 400 <= status < 500:  # noqa: PLR2004 - HTTP
        return _not_now(call, answer, said, after)
    if status in (403, 409, 413) and _QUOTA.search(said):
        return Retry(ErrorCode.QUOTA, said, after=after, blocked_on="quota")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and after is not None:
        return Retry(ErrorCode.CLOUD_BUSY, said, after=after)
    if status in (405, 406):
        return Terminal(ErrorCode.UNSUPPORTED, said)
    return Terminal(ErrorCode.CLOUD_REFUSED, said)


def _not_now(call: Call, answer: Answer, said: str, after: timedelta | None) -> Ending:
    if is_no_server(call, answer):
        return Terminal(ErrorCode.NO_SERVER, said)
    if answer.status == HTTPStatus.NOT_IMPLEMENTED:
        return Terminal(ErrorCode.UNSUPPORTED, said)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Retry(ErrorCode.CLOUD_BUSY, said, after=after)
    uncertain = call.changes and (answer.status >= 500 or answer.status == 408)  # noqa: PLR2004
    return Retry(ErrorCode.CLOUD_UNAVAILABLE, said, after=after, uncertain=uncertain)


def is_no_server(call: Call, answer: Answer) -> bool:
    """Whether Nova itself says that it has no such server.

    A 404 without Nova's own words comes from a proxy or a wrong endpoint and says nothing.
    """
    return (
        answer.status == HTTPStatus.NOT_FOUND
        and call.template.startswith("/servers/{id}")
        and "itemNotFound" in _object(answer.content)
    )


def is_gone(answer: Answer) -> bool:
    """Whether Neutron or Cinder itself says that there is no such thing; a proxy's 404 does not."""
    said = _object(answer.content)
    known = "NeutronError" in said or "itemNotFound" in said
    return answer.status == HTTPStatus.NOT_FOUND and known


def unreadable(call: Call, answer: Answer) -> Retry:
    """A success whose body makes no sense: a proxy's page, or one cut short."""
    return Retry(
        ErrorCode.CLOUD_UNAVAILABLE,
        f"{call.method} {call.template} answered {answer.status} with a body that makes no sense.",
        uncertain=call.changes,
    )


def failure(error: Exception, *, sent: bool, changes: bool) -> HostlerError | None:
    """What an exception of openstacksdk and its libraries means; None for one that is not theirs.

    `sent` is False where it came up before the request itself: in reading clouds.yaml, logging in
    or finding the endpoint.
    """
    if not isinstance(
        error,
        keystone.ClientException
        | keystone.ImpliedVersionMismatch
        | sdk.SDKException
        | yaml.YAMLError
        | OSError,  # requests' exceptions too
    ):
        return None
    return Retry(
        ErrorCode.CLOUD_UNAVAILABLE,
        _cut(str(error) or type(error).__name__),
        uncertain=sent and changes and not _never_connected(error),
    )


def is_broken(status: int) -> bool:
    """Whether an answer's status says that the cloud does not work (501 is its word on a feature)."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED


def is_silence(error: HostlerError) -> bool:
    """Whether a `failure` says that the cloud gave no answer, or that its Keystone is broken.

    What is wrong with clouds.yaml, or refused by Keystone, says nothing of the kind.
    """
    cause = error.__cause__
    if isinstance(cause, keystone.HttpError):
        return is_broken(cause.http_status)
    return isinstance(
        cause, keystone.ConnectionError | keystone.DiscoveryFailure | requests.RequestException
    )


def _never_connected(error: BaseException) -> bool:
    """Whether nothing can have been sent: name not found, connection refused or not made in time.

    An HttpError is raised only for logging in anew after a 401, which has refused the request.
    """
    never = (NewConnectionError, ConnectTimeoutError, requests.ConnectTimeout)
    if isinstance(error, (*never, keystone.HttpError, sdk.HttpException)):
        return True
    inner = [each for each in error.args if isinstance(each, BaseException)]
    inner += [each for each in (error.__cause__, error.__context__) if each is not None]
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        inner.append(reason)
    return any(_never_connected(each) for each in inner)


def retry_after(answer: Answer) -> timedelta | None:
    """`Retry-After`, seconds or a date, as a span within bounds; None if absent or nonsense."""
    given = answer.headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        wait = timedelta(seconds=int(given[:9]))
    elif (date := http_date(given)) is not None:
        wait = date - answer.taken_at
    else:
        return None
    return min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT)


class _Words(BaseModel):
    """The body of a fault: `{"badRequest": {"code": 400, "message": …}}` and its relatives."""

    message: str = Field(min_length=1)


def words(answer: Answer) -> str:
    """What the cloud said, in its own words; the status' name if it gave none."""
    for inner in _object(answer.content).values():
        try:
            return _cut(_Words.model_validate(inner).message)
        except ValidationError:
            continue
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "an unknown status"
    return f"The cloud answered {answer.status} ({phrase})."


def _object(content: bytes) -> dict[str, object]:
    try:
        found: object = from_json(content)
    except ValueError:
        return {}
    return dict(found) if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _cut(text: str) -> str:
    """Without the many thousand characters of Nova's patterns for printable text."""
    text = _PATTERN.sub("does not match the pattern for it", text)
    return text if len(text) <= _LONGEST_DETAIL else text[: _LONGEST_DETAIL - 1] + "…"
