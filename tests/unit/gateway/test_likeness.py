"""What is kept of a request for its Idempotency-Key tells nothing, and survives other gateways."""

import hashlib
from collections.abc import Mapping

from pydantic import SecretStr
from sqlalchemy import select, update

from contracts.vm.commands import Create
from services.gateway.context import Gateway
from services.gateway.tables import IDEMPOTENCY_KEYS
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, Clients, commanded, hear_catalog

KEY = {"Idempotency-Key": "k-1"}
SECRETIVE = CREATE | {"user_data": "I2Nsb3VkLWNvbmZpZw=="}
_PEPPER = "p" * 32


def _plain(body: Mapping[str, object]) -> bytes:
    """As gateways without a key wrote it."""
    said = f"POST /v1/vms\n{Create.model_validate(body).model_dump_json()}"
    return hashlib.sha256(said.encode()).digest()


async def _digests(gateway: Gateway) -> list[bytes]:
    async with gateway.database.reading() as session:
        return list(await session.scalars(select(IDEMPOTENCY_KEYS.c.digest)))


async def test_whoever_reads_the_table_can_try_out_no_guess_at_what_was_asked(
    gateway: Gateway, clients: Clients
) -> None:
    for key in ("k-1", "k-2"):
        headers = {"Idempotency-Key": key}
        answer = await clients.operator.post("/v1/vms", json=SECRETIVE, headers=headers)
        assert answer.status_code == 202
    one, other = await _digests(gateway)
    assert _plain(SECRETIVE) not in {one[:32], one[-32:], other[:32], other[-32:]}
    assert one[-32:] != other[-32:], "two keys show that they stand for the same request"


async def test_a_key_from_before_digests_had_keys_stands_for_its_request_and_no_other(
    gateway: Gateway, clients: Clients
) -> None:
    first = await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    async with gateway.database.session() as session:
        await session.execute(update(IDEMPOTENCY_KEYS).values(digest=_plain(CREATE)))
    again = await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await clients.operator.post("/v1/vms", json=SECRETIVE, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert len(await commanded(gateway)) == 1


async def test_a_changed_secret_makes_no_second_vm_and_gives_nobody_anothers_answer(
    new_gateway: NewGateway,
) -> None:
    before = await new_gateway(key_pepper=SecretStr(_PEPPER))
    await hear_catalog(before, *CATALOG)
    after = await new_gateway(
        key_pepper=SecretStr(_PEPPER), internal_secret=SecretStr("another" * 5)
    )
    async with client(before, ADMIN_KEY) as old, client(after, ADMIN_KEY) as new:
        first = (await old.post("/v1/vms", json=CREATE, headers=KEY)).json()
        for body in (CREATE, SECRETIVE):
            answer = await new.post("/v1/vms", json=body, headers=KEY)
            assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")
            assert answer.json()["operation"] == first["id"]
            assert "secret was changed" in answer.json()["detail"]
    assert len(await commanded(before)) == 1
