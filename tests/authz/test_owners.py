"""Every route that names a VM or an operation: in a project of owners it is a 404 for everybody else."""

import httpx

from contracts.identity import Role
from services.gateway.context import Gateway
from tests.authz.test_isolation import ROUTES, ids
from tests.unit.gateway.identity.world import bearer, log_in, make_user
from tests.unit.gateway.world import Clients

__all__ = ["ids"]
NAMING = ("{vm_id}", "{operation_id}")
LISTS = ("/v1/vms", "/v1/operations", "/v1/drift")


async def finds_nothing(asking: httpx.AsyncClient, ids: dict[str, str]) -> None:
    named = [route for route in ROUTES if any(each in route.path for each in NAMING)]
    for route in named:
        answer = await asking.request(route.method, route.path.format_map(ids), json=route.body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), route.name
    for path in LISTS:
        assert (await asking.get(path)).json()["items"] == [], path


async def test_others_of_the_project_find_nothing_by_key_nor_by_token(
    gateway: Gateway, clients: Clients, ids: dict[str, str]
) -> None:
    owners = {"owner_only": True}
    assert (await clients.admin.patch("/v1/project", json=owners)).status_code == 200
    await finds_nothing(clients.viewer, ids)
    await make_user(gateway, "mate@example.org", {"demo": Role.OPERATOR})
    async with bearer(gateway, await log_in(gateway, "mate@example.org")) as mate:
        await finds_nothing(mate, ids)
    assert (await clients.operator.get(f"/v1/vms/{ids['vm_id']}")).status_code == 200
