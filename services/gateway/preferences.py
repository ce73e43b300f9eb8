"""Prefer: wait=N (RFC 7240): the answer waits for the operation's end, so that nobody has to poll."""

import re
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request

from services.gateway.context import gateway_of

_WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:[,;]|$)', re.IGNORECASE)


async def read_prefer(
    request: Request,
    prefer: Annotated[
        str | None,
        Header(
            max_length=1024,
            description="`wait=N`: answer once the operation has ended, after N seconds at most.",
            examples=["wait=20"],
        ),
    ] = None,
) -> timedelta | None:
    """How long the caller would wait; None if they did not say. What is no preference is ignored."""
    found = _WAIT.search(prefer or "")
    if found is None:
        return None
    return min(timedelta(seconds=int(found[1])), gateway_of(request).settings.wait_cap)


Wait = Annotated[timedelta | None, Depends(read_prefer)]
