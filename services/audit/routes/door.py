"""Who may come in: those for whom the gateway vouches."""

import re
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chassis.errors import Terminal
from chassis.identity import Caller, Vouching
from chassis.leases import Clock
from contracts.errors import ErrorCode

AUDIENCE = "audit"
EVERYTHING = "*"
"""The project of the gateway itself, when it reads all of the ledger to rebuild what it shows."""
_REQUEST_ID = re.compile(r"req-[A-Za-z0-9-]{1,64}")


class Door:
    """Lets in those for whom the gateway vouches."""

    def __init__(self, vouching: Vouching, clock: Clock) -> None:
        self.vouching = vouching
        self.clock = clock

    def enter(
        self,
        request: Request,
        bearer: Annotated[
            HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
        ],
    ) -> Caller:
        """Who is asking; Terminal(UNAUTHENTICATED) without a token that holds."""
        said = request.headers.get("X-Openstack-Request-Id", "")
        request.state.request_id = said if _REQUEST_ID.fullmatch(said) else ""
        if bearer is None:
            raise Terminal(ErrorCode.UNAUTHENTICATED, "Ask the gateway, which vouches for you.")
        return self.vouching.check(bearer.credentials, AUDIENCE, self.clock())
