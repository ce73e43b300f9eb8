"""Actions on VMs: a route for each Action in the command union, made of what its class says."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response

from chassis.identity import Caller
from contracts.message import Action
from services.gateway.bodies import body, documented
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.intake import Asked
from services.gateway.preferences import Wait
from services.gateway.resources import Operation
from services.gateway.routes.answers import Key, accept, command_responses
from services.gateway.routes.guard import guarded
from services.gateway.trial import Trial
from services.gateway.turns import COMMANDS

ROUTER = guarded("/vms", "actions")
ACTIONS = [kind for kind in COMMANDS.values() if issubclass(kind, Action)]
Endpoint = Callable[..., Coroutine[Any, Any, Response]]


def _endpoint(kind: type[Action]) -> Endpoint:
    permitted = Depends(permit(kind.role, kind.permission()))
    command = Depends(body(kind, optional=True))

    async def act(
        *,
        vm_id: UUID,
        request_id: RequestId,
        gateway: Here,
        caller: Annotated[Caller, permitted],
        command: Annotated[Action, command],
        key: Key,
        wait: Wait,
        trial: Trial,
    ) -> Response:
        intent = f"POST /v1/vms/{vm_id}/{kind.verb()}"
        asked = Asked(caller, command, vm_id, request_id, intent, key)
        return await accept(gateway, asked, wait, trial)

    return act


for each in ACTIONS:
    ROUTER.add_api_route(
        f"/{{vm_id}}/{each.verb()}",
        _endpoint(each),
        methods=["POST"],
        status_code=202,
        response_model=Operation,
        name=f"{each.verb()}_vm",
        summary=f"{each.title().capitalize()} a VM",
        description=each.__doc__,
        responses=command_responses(),
        openapi_extra=documented(each, optional=True),
    )
