"""API keys: narrowed by scopes, networks and time; rotated without a pause; when they were used."""

from datetime import timedelta

from chassis.testing import VirtualClock, said
from contracts.access.events import KeyCreated, KeyRotated, Refused
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import CREATE, Clients


async def make(clients: Clients, **wanted: object) -> dict[str, str]:
    body = {"name": "ci", "role": "admin", **wanted}
    made = await clients.admin.post("/v1/api-keys", json=body)
    assert made.status_code == 201, made.text
    return made.json()


async def test_scopes_narrow_what_a_role_covers(gateway: Gateway, clients: Clients) -> None:
    made = await make(clients, scopes=["vm.read", "audit.*"])
    async with client(gateway, made["key"]) as ci:
        assert (await ci.get("/v1/vms")).status_code == 200
        for method, path, body in (
            ("POST", "/v1/vms", CREATE),
            ("GET", "/v1/api-keys", None),
            ("GET", "/v1/dead-letters", None),
        ):
            answer = await ci.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    refused = [m.data for m in await said(gateway.database) if isinstance(m.data, Refused)]
    assert [each.permission for each in refused] == [
        "vm.create",
        "api_key.manage",
        "dead_letter.read",
    ]


async def test_scopes_widen_no_role(gateway: Gateway, clients: Clients) -> None:
    made = await make(clients, role="viewer", scopes=["*"])
    async with client(gateway, made["key"]) as ci:
        assert (await ci.post("/v1/vms", json=CREATE)).status_code == 403


async def test_a_key_makes_no_key_that_may_more_than_itself(
    gateway: Gateway, clients: Clients
) -> None:
    wide = await make(clients, name="wide")
    made = await make(clients, scopes=["api_key.*", "vm.read"])
    async with client(gateway, made["key"]) as ci:
        for scopes in (None, ["*"], ["vm.*"], ["vm.read", "vm.create"]):
            body = {"name": "more", "role": "admin", "scopes": scopes}
            assert (await ci.post("/v1/api-keys", json=body)).status_code == 403, scopes
        for scopes in (["vm.read"], ["api_key.manage"], ["api_key.*"]):
            body = {"name": scopes[0], "role": "admin", "scopes": scopes}
            assert (await ci.post("/v1/api-keys", json=body)).status_code == 201, scopes
        assert (await ci.post(f"/v1/api-keys/{wide['id']}/rotate")).status_code == 403


async def test_a_narrowed_key_gives_nobody_a_role(
    clients: Clients, new_gateway: NewGateway
) -> None:
    made = await make(clients, scopes=["user.*"])
    inviting = await new_gateway(registration="invitation")
    async with client(inviting, made["key"]) as ci:
        body = {"email": "eve@example.org", "memberships": {"demo": "admin"}}
        assert (await ci.post("/v1/users", json=body)).status_code == 403
        assert (await ci.get("/v1/users")).status_code == 200


async def test_a_key_for_some_networks_makes_keys_for_those_alone(
    gateway: Gateway, clients: Clients
) -> None:
    made = await make(clients, allowed_cidrs=["127.0.0.0/8", "2001:db8::/32"])
    async with client(gateway, made["key"]) as ci:
        for number, (cidrs, status) in enumerate(
            (
                (None, 403),
                (["0.0.0.0/0"], 403),
                (["::/0"], 403),
                (["127.0.0.0/8", "10.0.0.1/32"], 403),
                (["127.0.0.1/32", "2001:db8:1::/48"], 201),
            )
        ):
            body = {"name": f"k{number}", "role": "viewer", "allowed_cidrs": cidrs}
            answer = await ci.post("/v1/api-keys", json=body)
            assert answer.status_code == status, cidrs


async def test_a_scope_is_written_as_one(clients: Clients) -> None:
    for scopes in ([], ["vm"], ["vm.read.all"], ["**"], ["vm.*.x"], ["VM.READ"], [""]):
        body = {"name": "x", "role": "viewer", "scopes": scopes}
        assert (await clients.admin.post("/v1/api-keys", json=body)).status_code == 400, scopes


async def test_a_key_ends_when_it_was_to_end(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    ends = clock() + timedelta(seconds=3)
    made = await make(clients, expires_at=ends.isoformat())
    async with client(gateway, made["key"]) as ci:
        assert (await ci.get("/v1")).status_code == 200
        clock.advance(seconds=3)
        assert (await ci.get("/v1")).status_code == 401
    body = {"name": "late", "role": "viewer", "expires_at": clock().isoformat()}
    assert (await clients.admin.post("/v1/api-keys", json=body)).status_code == 400


async def test_a_rotated_key_works_with_both_secrets_for_a_while(
    gateway: Gateway, clients: Clients, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    old = await make(clients)
    replica = await new_gateway()
    answer = await clients.admin.post(
        f"/v1/api-keys/{old['id']}/rotate", json={"overlap_seconds": 60}
    )
    new = answer.json()
    assert (new["id"], new["name"]) == (old["id"], "ci")
    async with client(replica, old["key"]) as before, client(gateway, new["key"]) as after:
        for each in (before, after):
            assert (await each.get("/v1")).json()["caller"]["actor"] == "key:ci"
        clock.advance(seconds=60)
        assert (await before.get("/v1")).status_code == 401
        assert (await after.get("/v1")).status_code == 200
    [rotated] = [m.data for m in await said(gateway.database) if isinstance(m.data, KeyRotated)]
    assert (rotated.name, rotated.prefix) == ("ci", new["prefix"])


async def test_a_secret_that_is_known_to_others_is_replaced_at_once(
    gateway: Gateway, clients: Clients
) -> None:
    old = await make(clients)
    body = {"overlap_seconds": 0}
    await clients.admin.post(f"/v1/api-keys/{old['id']}/rotate", json=body)
    async with client(gateway, old["key"]) as before:
        assert (await before.get("/v1")).status_code == 401


async def test_a_revoked_key_is_revoked_with_both_secrets(
    gateway: Gateway, clients: Clients
) -> None:
    old = await make(clients)
    new = (await clients.admin.post(f"/v1/api-keys/{old['id']}/rotate")).json()
    await clients.admin.delete(f"/v1/api-keys/{old['id']}")
    async with client(gateway, old["key"]) as before, client(gateway, new["key"]) as after:
        assert (await before.get("/v1")).status_code == 401
        assert (await after.get("/v1")).status_code == 401
    assert (await clients.admin.post(f"/v1/api-keys/{old['id']}/rotate")).status_code == 409


async def test_when_a_key_was_used_is_written_down_later(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    made = await make(clients)
    used = clock.advance(minutes=5)
    async with client(gateway, made["key"]) as ci:
        await ci.get("/v1")
    assert await last_used(clients, made["id"]) is None
    clock.advance(minutes=1)
    await gateway.keys.note_used()
    assert await last_used(clients, made["id"]) == used.isoformat().replace("+00:00", "Z")


async def last_used(clients: Clients, key_id: str) -> object:
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    return next(key["last_used_at"] for key in keys if key["id"] == key_id)


async def test_what_a_key_is_narrowed_to_is_shown_and_audited(
    gateway: Gateway, clients: Clients
) -> None:
    made = await make(clients, scopes=["vm.*"], allowed_cidrs=["10.0.0.0/8"])
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    shown = next(key for key in keys if key["id"] == made["id"])
    assert (shown["scopes"], shown["allowed_cidrs"]) == (["vm.*"], ["10.0.0.0/8"])
    [created] = [m.data for m in await said(gateway.database) if isinstance(m.data, KeyCreated)]
    assert (created.scopes, created.allowed_cidrs) == (("vm.*",), ("10.0.0.0/8",))
