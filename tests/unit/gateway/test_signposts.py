"""Routers that pass by quickly find what they would have found slowly, and nothing else."""

import httpx
import pytest
from fastapi import FastAPI

from services.gateway.app import ROUTERS
from services.gateway.routes.signposts import Signposted

PATHS = sorted(
    {str(getattr(route, "path", "")) for router in ROUTERS for route in router.routes} - {""}
)


def made() -> Signposted:
    router = Signposted(prefix="/v1/things", documented={"security": [{"ApiKey": []}]})

    @router.get("")
    async def things() -> str:
        return "things"

    @router.get("/{name}/parts")
    async def parts(name: str) -> str:
        return name

    @router.get("/{name}/open", openapi_extra={"security": []})
    async def opened(name: str) -> str:
        return name

    return router


def app() -> FastAPI:
    made_app = FastAPI()
    made_app.include_router(made())
    return made_app


async def asked(of: FastAPI, method: str, path: str, root: str = "") -> httpx.Response:
    transport = httpx.ASGITransport(of, root_path=root)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.request(method, path)


async def test_its_routes_are_found_and_other_methods_refused() -> None:
    assert (await asked(app(), "GET", "/v1/things")).json() == "things"
    assert (await asked(app(), "GET", "/v1/things/a/parts")).json() == "a"
    assert (await asked(app(), "PUT", "/v1/things")).status_code == 405
    assert (await asked(app(), "GET", "/v1/thing")).status_code == 404
    assert (await asked(app(), "GET", "/v1/things/a")).status_code == 404


async def test_under_a_root_path_they_are_found_too() -> None:
    assert (await asked(app(), "GET", "/cloud/v1/things", "/cloud")).status_code == 200


async def test_a_route_that_is_added_later_is_found() -> None:
    router = made()
    served = FastAPI()
    served.include_router(router)
    assert (await asked(served, "GET", "/v1/things")).status_code == 200

    @router.get("/later")
    async def later() -> str:
        return "later"

    assert (await asked(served, "GET", "/v1/things/later")).status_code == 200


def test_each_route_is_documented_as_its_router_says_unless_it_says_otherwise() -> None:
    paths = app().openapi()["paths"]
    assert paths["/v1/things"]["get"]["security"] == [{"ApiKey": []}]
    assert paths["/v1/things/{name}/open"]["get"]["security"] == []


@pytest.mark.parametrize("path", PATHS)
def test_no_router_passes_by_a_path_of_its_own(path: str) -> None:
    scope = {"type": "http", "method": "GET", "path": path.replace("{", "").replace("}", "")}
    for router in ROUTERS:
        own = {str(getattr(route, "path", "")) for route in router.routes}
        if isinstance(router, Signposted) and path in own:
            assert router.is_near(scope)
