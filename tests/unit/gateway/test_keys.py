"""API keys: shown once, stored hashed, revoked for good; refusals are events."""

from chassis.testing import VirtualClock, said, unsaid
from contracts.access.events import KeyCreated, KeyRevoked, Refused
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.locks import exclusively
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import CREATE, Clients


async def test_a_key_is_shown_once_and_works_with_its_role(
    gateway: Gateway, clients: Clients
) -> None:
    wanted = {"name": "ci", "role": "viewer"}
    made = await clients.admin.post("/v1/api-keys", json=wanted)
    assert made.status_code == 201
    secret = made.json()["key"]
    listed = await clients.admin.get("/v1/api-keys")
    assert secret not in listed.text
    [message] = await said(gateway.database)
    assert message.data == KeyCreated(name="ci", prefix=made.json()["prefix"], role=Role.VIEWER)
    async with client(gateway, secret) as ci:
        assert (await ci.get("/v1")).json()["caller"]["actor"] == "key:ci"
        assert (await ci.post("/v1/vms", json=CREATE)).status_code == 403


async def test_a_secret_stands_in_no_row_and_no_message(gateway: Gateway, clients: Clients) -> None:
    made = await clients.admin.post("/v1/api-keys", json={"name": "ci", "role": "admin"})
    secret = made.json()["key"].encode()
    records = await unsaid(gateway.database)
    assert records
    assert not any(secret in record.value for record in records)


async def test_a_revoked_key_is_refused_here_at_once_elsewhere_within_the_cache_time(
    gateway: Gateway, clients: Clients, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    made = (await clients.admin.post("/v1/api-keys", json={"name": "ci", "role": "viewer"})).json()
    replica = await new_gateway()
    async with client(gateway, made["key"]) as here, client(replica, made["key"]) as there:
        assert (await here.get("/v1")).status_code == 200
        assert (await there.get("/v1")).status_code == 200
        answer = await clients.admin.delete(f"/v1/api-keys/{made['id']}")
        assert answer.status_code == 204
        assert (await here.get("/v1")).status_code == 401
        clock.advance(seconds=6)
        assert (await there.get("/v1")).status_code == 401
    told = [each.data for each in await said(gateway.database)]
    assert [each.name for each in told if isinstance(each, KeyRevoked)] == ["ci"]


async def test_a_name_is_taken_until_its_key_is_revoked(clients: Clients) -> None:
    wanted = {"name": "ci", "role": "viewer"}
    made = await clients.admin.post("/v1/api-keys", json=wanted)
    assert (await clients.admin.post("/v1/api-keys", json=wanted)).status_code == 409
    await clients.admin.delete(f"/v1/api-keys/{made.json()['id']}")
    assert (await clients.admin.post("/v1/api-keys", json=wanted)).status_code == 201


async def test_the_last_admin_key_stays(clients: Clients) -> None:
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    answers = [
        (await clients.admin.delete(f"/v1/api-keys/{key['id']}")).status_code
        for key in keys
        if key["role"] == "admin"
    ]
    assert answers == [409]


async def test_a_role_that_does_not_suffice_is_a_403_and_an_event(
    gateway: Gateway, clients: Clients
) -> None:
    answer = await clients.viewer.post("/v1/vms", json=CREATE)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    [message] = await said(gateway.database)
    assert isinstance(message.data, Refused)
    assert (message.data.permission, message.actor) == ("vm.create", "key:viewer")


async def test_without_a_valid_key_it_is_a_401(clients: Clients) -> None:
    for key in ("", "hk_x", "x" * 5000, "\u00e9"):
        headers = [(b"X-API-Key", key.encode("latin-1"))]
        answer = await clients.nobody.get("/v1/vms", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_each_project_without_a_key_gets_a_first_one_shown_once(
    new_gateway: NewGateway,
) -> None:
    gateway = await new_gateway(first_api_key=None)
    shown: list[str] = []
    gateway.first_keys.show = shown.append
    await gateway.first_keys.ensure(exclusively)
    assert shown == []  # both projects got theirs when the gateway was made
