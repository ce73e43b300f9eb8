"""What stands before every route under /v1."""

from fastapi import APIRouter, Depends

from services.gateway.identity.permission import authenticated
from services.gateway.limits.admission import admitted
from services.gateway.parameters import refuse_unknown_parameters


def guarded(prefix: str, tag: str) -> APIRouter:
    """A router whose routes ask for a key first and take no parameter that they do not know."""
    needed = [Depends(authenticated), Depends(admitted), Depends(refuse_unknown_parameters)]
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], dependencies=needed)
