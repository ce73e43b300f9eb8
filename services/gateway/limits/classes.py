"""Which rates a request counts against: what it asks for decides, before a route is found for it."""

from enum import StrEnum

_PROBES = {"/healthz", "/readyz", "/metrics"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOGIN = ("/v1/auth",)
_CREDENTIALS = (
    *("/v1/api-keys", "/v1/service-accounts", "/v1/signing-keys"),
    *("/v1/users", "/v1/me", "/v1/invitations"),
)


class RouteClass(StrEnum):
    """Kinds of requests, each with rates of its own."""

    READ = "read"
    WRITE = "write"
    SENSITIVE = "sensitive"
    STREAM = "stream"


class Subject(StrEnum):
    """Who is counted: a key or a user, their project, or the address they come from."""

    CALLER = "caller"
    PROJECT = "project"
    ADDRESS = "address"


def class_of(method: str, path: str) -> RouteClass | None:
    """The class of a request; None for the probes, which nobody may make wait.

    Sensitive are logins, and every change of what one can log in with.
    """
    if path in _PROBES:
        return None
    if path == "/v1/events":
        return RouteClass.STREAM
    if path.startswith(_LOGIN):
        return RouteClass.SENSITIVE
    if method in _SAFE:
        return RouteClass.READ
    return RouteClass.SENSITIVE if path.startswith(_CREDENTIALS) else RouteClass.WRITE
