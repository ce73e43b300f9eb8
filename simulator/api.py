"""How a service of the simulated cloud is called: one request in, one reply out, errors as OpenStack words them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeGuard

if TYPE_CHECKING:
    from simulator.identity.tokens import Token
    from simulator.world import World

Service = Literal["identity", "compute", "image", "network", "volume"]


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Whether a JSON value is an array."""
    return isinstance(value, list)


class ApiError(Exception):
    """A request that is answered with an error; each service has its own body for it."""

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind  # Neutron names its errors: NetworkNotFound, OverQuota ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `body` is JSON to be written, or bytes that are already."""

    status: int = 200
    body: Mapping[str, object] | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """The body's bytes."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(slots=True)
class Call:
    """One request to one service, authenticated where the route asks for it."""

    world: World
    root_url: str  # as the caller wrote it: http://host:port
    base_url: str  # the same with the service: http://host:port/compute
    method: str
    params: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    raw: bytes
    request_id: str
    now: float
    version: int = 1  # the compute microversion's minor number
    token: Token | None = None

    @property
    def who(self) -> Token:
        """The caller; only behind routes that authenticate."""
        if self.token is None:
            raise ApiError(401, "The request you have made requires authentication.")
        return self.token

    def param(self, name: str) -> str | None:
        """The last value of a query parameter."""
        return dict(self.query).get(name)

    def json(self) -> object:
        """The request's body; None where there is none. ApiError 400 if it is no JSON."""
        if not self.raw:
            return None
        try:
            return json.loads(self.raw)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "Malformed request body") from error


Handler = Callable[[Call], Reply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of a service: `path` below the service's prefix, `/v2.1/servers/{id}`."""

    method: str
    path: str
    handler: Handler
    open: bool = False  # answered without a token
