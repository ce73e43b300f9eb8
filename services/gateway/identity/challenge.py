"""The 401: it says which credentials are taken here (RFC 9110, 11.6.1; RFC 6750)."""

from chassis.problems import Refusal
from contracts.errors import ErrorCode

SCHEMES = 'Bearer realm="hostler", ApiKey realm="hostler"'
INVALID = 'Bearer realm="hostler", error="invalid_token", ApiKey realm="hostler"'


def unauthenticated(detail: str = "", *, tried: bool = False) -> Refusal:
    """A 401. `tried`: a token came, and it does not hold, so that a client knows to refresh it."""
    headers = {"WWW-Authenticate": INVALID if tried else SCHEMES}
    return Refusal(ErrorCode.UNAUTHENTICATED, detail, headers=headers)
