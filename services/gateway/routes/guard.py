"""What stands before every route under /v1."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Security

from services.gateway.identity.permission import HEADER, authenticate
from services.gateway.parameters import refuse_unknown_parameters


def guarded(prefix: str, tag: str) -> APIRouter:
    """A router whose routes ask for a key first and take no parameter that they do not know."""
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], dependencies=[Depends(_admit)])


async def _admit(request: Request, key: Annotated[str | None, Security(HEADER)] = None) -> None:
    """In one: FastAPI asks a tenth of a millisecond for each dependency."""
    await authenticate(request, key)
    await refuse_unknown_parameters(request)
