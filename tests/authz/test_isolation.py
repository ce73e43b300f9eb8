"""Every route under /v1: shut without a key, blind to other projects, closed to lesser roles.

Once more with the access tokens of users of the same roles: they are let in and kept out alike.

A route that is missing in ROUTES must stand in `uncovered.txt`, which is pinned empty.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from chassis.testing import hear
from contracts.identity import Role
from services.gateway.app import ROUTERS
from services.gateway.context import Gateway
from services.gateway.routes.actions import ACTIONS
from services.gateway.steering import STEERS
from tests.unit.gateway.conftest import client
from tests.unit.gateway.identity.world import bearer, log_in, make_user, nobody
from tests.unit.gateway.test_dead_letters import letter
from tests.unit.gateway.world import CREATE, Clients, make_active

UNCOVERED = Path(__file__).parent / "uncovered.txt"


@dataclass(frozen=True)
class Route:
    """What a stranger gets: 404 where a thing is named, an empty list, or a thing of their own."""

    method: str
    path: str
    role: Role
    stranger: str
    body: object = None
    is_open: bool = False
    """For those who come to get a credential, or bring one in the body."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


NOBODYS = "01993b1c-58a5-7c58-8a52-0000000000a1"
NOBODY = "00000000-0000-0000-0000-000000000001"
VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
ROUTES = [
    Route("GET", "/v1", VIEWER, "own"),
    Route("POST", "/v1/vms", OPERATOR, "own", CREATE),
    Route("GET", "/v1/vms", VIEWER, "empty"),
    Route("GET", "/v1/vms/{vm_id}", VIEWER, "404"),
    Route("GET", "/v1/vms/{vm_id}/history", VIEWER, "404"),
    Route("PATCH", "/v1/vms/{vm_id}", OPERATOR, "404", {"name": "mine"}),
    Route("DELETE", "/v1/vms/{vm_id}", OPERATOR, "404"),
    *[Route("POST", f"/v1/vms/{{vm_id}}/{a.verb()}", a.role, "404") for a in ACTIONS],
    Route("GET", "/v1/operations", VIEWER, "empty"),
    Route("GET", "/v1/operations/{operation_id}", VIEWER, "404"),
    *[
        Route("POST", f"/v1/operations/{{operation_id}}/{kind.verb()}", kind.role, "404")
        for kind in STEERS
    ],
    Route("GET", "/v1/drift", VIEWER, "empty"),
    Route("GET", "/v1/vms/{vm_id}/drift", VIEWER, "404"),
    Route("PUT", "/v1/vms/{vm_id}/drift", OPERATOR, "404", {"choices": {"*": "ignore"}}),
    Route("POST", "/v1/vms/{vm_id}/drift/{field}", OPERATOR, "404", {"choice": "accept"}),
    Route("GET", "/v1/vms/{vm_id}/grants", OPERATOR, "404"),
    Route("POST", "/v1/vms/{vm_id}/grants", OPERATOR, "404", {"user_id": NOBODY, "role": "viewer"}),
    Route("DELETE", "/v1/vms/{vm_id}/grants/{user_id}", OPERATOR, "404"),
    Route("GET", "/v1/project", VIEWER, "own"),
    Route("PATCH", "/v1/project", ADMIN, "own", {"owner_only": False}),
    Route("POST", "/v1/vms/import", ADMIN, "404", {"server_ids": ["s-9"]}),
    Route("GET", "/v1/orphans", ADMIN, "empty"),
    Route("GET", "/v1/unmanaged", OPERATOR, "empty"),
    Route("GET", "/v1/flavors", VIEWER, "empty"),
    Route("GET", "/v1/flavors/{flavor_id}", VIEWER, "404"),
    Route("GET", "/v1/images", VIEWER, "empty"),
    Route("GET", "/v1/images/{image_id}", VIEWER, "404"),
    Route("GET", "/v1/networks", VIEWER, "empty"),
    Route("GET", "/v1/keypairs", VIEWER, "empty"),
    Route("GET", "/v1/events", VIEWER, "own"),
    Route("GET", "/v1/audit", VIEWER, "own"),
    Route("GET", "/v1/audit/export", VIEWER, "own"),
    Route("GET", "/v1/audit/keys", VIEWER, "own"),
    Route("GET", "/v1/audit/verify", ADMIN, "own"),
    Route("POST", "/v1/audit/verifications", ADMIN, "own"),
    Route("GET", "/v1/audit/verifications/{verification_id}", ADMIN, "own"),
    Route("GET", "/v1/dead-letters", ADMIN, "empty"),
    Route("GET", "/v1/dead-letters/{letter_id}", ADMIN, "404"),
    Route("POST", "/v1/dead-letters/{letter_id}/replay", ADMIN, "404"),
    Route("POST", "/v1/dead-letters/replay", ADMIN, "own", {}),
    Route("POST", "/v1/api-keys", ADMIN, "own", {"name": "mine", "role": "viewer"}),
    Route("GET", "/v1/api-keys", ADMIN, "own"),
    Route("DELETE", "/v1/api-keys/{key_id}", ADMIN, "404"),
    Route("POST", "/v1/api-keys/{key_id}/rotate", ADMIN, "404"),
    Route("POST", "/v1/api-keys/revoke", ADMIN, "own", {"user_id": NOBODYS}),
    Route("POST", "/v1/service-accounts", ADMIN, "own", {"name": "mine", "role": "viewer"}),
    Route("GET", "/v1/service-accounts", ADMIN, "own"),
    Route("GET", "/v1/service-accounts/{account_id}", ADMIN, "404"),
    Route("PATCH", "/v1/service-accounts/{account_id}", ADMIN, "404", {"enabled": False}),
    Route("POST", "/v1/service-accounts/{account_id}/secret", ADMIN, "404"),
    Route("DELETE", "/v1/service-accounts/{account_id}/secret", ADMIN, "404"),
    Route("DELETE", "/v1/service-accounts/{account_id}", ADMIN, "404"),
    Route("POST", "/v1/signing-keys", ADMIN, "own", {"name": "mine", "algorithm": "hmac-sha256"}),
    Route("GET", "/v1/signing-keys", ADMIN, "empty"),
    Route("DELETE", "/v1/signing-keys/{key_id}", ADMIN, "404"),
    Route("POST", "/v1/users", ADMIN, "own", {"email": "eve@example.org"}),
    Route("GET", "/v1/users", ADMIN, "empty"),
    Route("GET", "/v1/users/{user_id}", ADMIN, "404"),
    Route("PATCH", "/v1/users/{user_id}", ADMIN, "404", {"memberships": {"other": "admin"}}),
    Route("POST", "/v1/users/{user_id}/invitation", ADMIN, "404"),
    Route("GET", "/v1/me", VIEWER, "own"),
    Route("PATCH", "/v1/me", VIEWER, "own", {"name": "mine"}),
    Route("POST", "/v1/me/password", VIEWER, "own", {"current": "x", "password": "y"}),
    Route("POST", "/v1/me/email", VIEWER, "own", {"email": "eve@example.org", "password": "x"}),
    Route("GET", "/v1/me/factors", VIEWER, "own"),
    Route("POST", "/v1/me/factors/totp", VIEWER, "own", {"name": "mine"}),
    Route("POST", "/v1/me/factors/{factor_id}/confirm", VIEWER, "own", {"code": "000000"}),
    Route("POST", "/v1/me/factors/passkey/options", VIEWER, "own"),
    Route("POST", "/v1/me/factors/passkey", VIEWER, "own", {"name": "mine", "passkey": {}}),
    Route("DELETE", "/v1/me/factors/{factor_id}", VIEWER, "own"),
    Route("POST", "/v1/me/recovery-codes", VIEWER, "own"),
    Route("GET", "/v1/me/sessions", VIEWER, "own"),
    Route("DELETE", "/v1/me/sessions/{session_id}", VIEWER, "own"),
    Route("DELETE", "/v1/users/{user_id}/factors", ADMIN, "own"),
    Route("POST", "/v1/auth/step-up", VIEWER, "own", {"code": "000000"}),
    Route("POST", "/v1/auth/step-up/options", VIEWER, "own"),
    Route("GET", "/v1/permissions", VIEWER, "own"),
    Route("POST", "/v1/auth/logout-everywhere", VIEWER, "own"),
    Route("POST", "/v1/auth/token-keys", ADMIN, "own", {}),
    Route("POST", "/v1/auth/login", VIEWER, "own", {"email": "x", "password": "y"}, is_open=True),
    Route("POST", "/v1/auth/refresh", VIEWER, "own", {"refresh_token": "x"}, is_open=True),
    Route("POST", "/v1/auth/logout", VIEWER, "own", {"refresh_token": "x"}, is_open=True),
    Route("POST", "/v1/auth/forgot", VIEWER, "own", {"email": "x@example.org"}, is_open=True),
    Route("POST", "/v1/auth/register", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/password", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/email", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/second-factor", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/second-factor/options", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/passkey/options", VIEWER, "own", is_open=True),
    Route("POST", "/v1/auth/passkey", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/token", VIEWER, "own", {}, is_open=True),
    Route("GET", "/v1/auth/oidc", VIEWER, "own", is_open=True),
    Route("GET", "/v1/auth/oidc/{provider}/login", VIEWER, "own", is_open=True),
    Route("GET", "/v1/auth/oidc/{provider}/callback", VIEWER, "own", is_open=True),
    Route("POST", "/v1/auth/oidc/{provider}/logout", VIEWER, "own", {}, is_open=True),
    Route("POST", "/v1/auth/oidc/{provider}/backchannel-logout", VIEWER, "own", {}, is_open=True),
]


@pytest.fixture
async def ids(gateway: Gateway, clients: Clients) -> dict[str, str]:
    """Things of the project `demo`, and of its account."""
    vm = await make_active(gateway, clients.operator)
    operations = (await clients.operator.get("/v1/operations")).json()["items"]
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    buried = letter()
    await hear(gateway.service, buried)
    member = await make_user(gateway, "member@example.org", {"demo": VIEWER})
    wanted = {"name": "robot", "role": "viewer"}
    account = (await clients.admin.post("/v1/service-accounts", json=wanted)).json()
    return {
        "account_id": account["id"],
        "user_id": str(member),
        "letter_id": str(buried.id),
        "vm_id": vm["id"],
        "operation_id": operations[0]["id"],
        "verification_id": operations[0]["id"],
        "factor_id": operations[0]["id"],
        "session_id": operations[0]["id"],
        "key_id": keys[-1]["id"],
        "flavor_id": "f-1",
        "image_id": "i-1",
        "field": "name",
    }


def test_every_route_is_in_the_table() -> None:
    served = {
        f"{method} {getattr(route, 'path', '')}"
        for router in ROUTERS
        for route in router.routes
        for method in getattr(route, "methods", ())
        if getattr(route, "path", "").startswith("/v1")
    }
    uncovered = set(UNCOVERED.read_text().split("\n")) - {""}
    assert uncovered == set(), "write a row in ROUTES instead"
    assert served - {route.name for route in ROUTES} == uncovered


async def test_no_route_opens_without_a_key(clients: Clients, ids: dict[str, str]) -> None:
    for route in ROUTES:
        if route.is_open:
            continue
        path = route.path.format_map(ids)
        answer = await clients.nobody.request(route.method, path, json=route.body)
        assert answer.status_code == 401, route.name


def test_only_routes_for_those_without_a_credential_are_open() -> None:
    own = ("login", "refresh", "logout", "forgot", "register", "password", "email")
    assert [route.name for route in ROUTES if route.is_open] == [
        *[f"POST /v1/auth/{each}" for each in own],
        "POST /v1/auth/second-factor",
        "POST /v1/auth/second-factor/options",
        "POST /v1/auth/passkey/options",
        "POST /v1/auth/passkey",
        "POST /v1/auth/token",
        "GET /v1/auth/oidc",
        "GET /v1/auth/oidc/{provider}/login",
        "GET /v1/auth/oidc/{provider}/callback",
        "POST /v1/auth/oidc/{provider}/logout",
        "POST /v1/auth/oidc/{provider}/backchannel-logout",
    ]


async def test_a_stranger_sees_nothing_of_another_project(
    clients: Clients, ids: dict[str, str]
) -> None:
    await sees_nothing(clients.stranger, ids)


async def sees_nothing(stranger: httpx.AsyncClient, ids: dict[str, str]) -> None:
    """Neither by a list nor by a name; of users, a stranger who is one sees themselves."""
    who = (await stranger.get("/v1/me")).json()["user"]
    own = [who["id"]] if who else []
    for route in ROUTES:
        if route.stranger == "own":
            continue
        path = route.path.format_map(ids)
        answer = await stranger.request(route.method, path, json=route.body)
        if route.stranger == "404":
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), route.name
        else:
            found = [each["id"] for each in answer.json()["items"]]
            assert found == (own if route.path == "/v1/users" else []), route.name


async def test_what_a_stranger_did_changed_nothing(clients: Clients, ids: dict[str, str]) -> None:
    before = (await clients.viewer.get(f"/v1/vms/{ids['vm_id']}")).json()
    await test_a_stranger_sees_nothing_of_another_project(clients, ids)
    assert (await clients.viewer.get(f"/v1/vms/{ids['vm_id']}")).json() == before
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    assert not any(key["revoked_at"] for key in keys)


async def test_a_strangers_own_lists_hold_their_own_alone(
    clients: Clients, ids: dict[str, str]
) -> None:
    who = (await clients.stranger.get("/v1")).json()["caller"]
    assert who["project_id"] == "other"
    keys = (await clients.stranger.get("/v1/api-keys")).json()["items"]
    assert ids["key_id"] not in [key["id"] for key in keys]


async def test_a_lesser_role_is_refused_by_every_route_that_asks_for_more(
    clients: Clients, ids: dict[str, str]
) -> None:
    lesser = {ADMIN: [clients.viewer, clients.operator], OPERATOR: [clients.viewer], VIEWER: []}
    for route in ROUTES:
        for each in lesser[route.role]:
            path = route.path.format_map(ids)
            answer = await each.request(route.method, path, json=route.body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), route.name


@asynccontextmanager
async def users(gateway: Gateway) -> AsyncGenerator[Clients]:
    """The same kinds of callers, as users who have logged in."""
    people = {
        "admin": {"demo": ADMIN},
        "operator": {"demo": OPERATOR},
        "viewer": {"demo": VIEWER},
        "stranger": {"other": ADMIN},
    }
    async with AsyncExitStack() as stack:
        opened: dict[str, httpx.AsyncClient] = {}
        for name, projects in people.items():
            email = f"{name}@example.org"
            await make_user(gateway, email, projects)
            made = bearer(gateway, await log_in(gateway, email))
            opened[name] = await stack.enter_async_context(made)
        opened["nobody"] = await stack.enter_async_context(nobody(gateway))
        yield Clients(**opened)


async def test_users_are_kept_apart_and_in_their_roles_as_keys_are(
    gateway: Gateway, ids: dict[str, str]
) -> None:
    async with users(gateway) as people:
        await sees_nothing(people.stranger, ids)
        await test_a_lesser_role_is_refused_by_every_route_that_asks_for_more(people, ids)


async def test_a_user_who_logged_out_is_shut_out_of_every_route(
    gateway: Gateway, ids: dict[str, str]
) -> None:
    async with users(gateway) as people:
        assert (await people.admin.post("/v1/auth/logout-everywhere")).status_code == 204
        for route in ROUTES:
            if not route.is_open:
                path = route.path.format_map(ids)
                answer = await people.admin.request(route.method, path, json=route.body)
                assert answer.status_code == 401, route.name


async def test_a_key_is_of_one_project_only(gateway: Gateway, clients: Clients) -> None:
    made = await clients.stranger.post("/v1/api-keys", json={"name": "x", "role": "admin"})
    async with client(gateway, made.json()["key"]) as theirs:
        assert (await theirs.get("/v1")).json()["caller"]["project_id"] == "other"
