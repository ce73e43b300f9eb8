"""What stands before every route under /v1."""

from fastapi import APIRouter, Depends

from services.gateway.identity.permission import authenticated, identified
from services.gateway.limits.admission import admitted, admitted_personally
from services.gateway.parameters import refuse_unknown_parameters


def guarded(prefix: str, tag: str) -> APIRouter:
    """A router whose routes ask for a key first and take no parameter that they do not know."""
    needed = [Depends(authenticated), Depends(admitted), Depends(refuse_unknown_parameters)]
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], dependencies=needed)


def personal(prefix: str, tag: str) -> APIRouter:
    """The same for what is the caller's own: no project has to be chosen."""
    needed = [Depends(identified), Depends(admitted_personally), Depends(refuse_unknown_parameters)]
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], dependencies=needed)


def unguarded(prefix: str, tag: str) -> APIRouter:
    """The same for those who come to get a credential, or with one in the body."""
    needed = [Depends(refuse_unknown_parameters)]
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], dependencies=needed)
