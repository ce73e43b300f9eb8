"""The gateway proves to a provider who it is by a key of its own, where it is told one."""

import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pydantic import ValidationError

from chassis.testing import VirtualClock
from services.gateway.identity.oidc.proof import ASSERTION
from services.gateway.identity.oidc.settings import OidcProvider
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.federated import ISSUER, SECRET, Fake, enter, federated

KEYS = {
    "RS256": RSAKey.generate_key(2048, {"kid": "mine"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "mine"}),
    "Ed25519": OKPKey.generate_key("Ed25519", {"kid": "mine"}),
    "PS256": RSAKey.generate_key(2048, {"kid": "mine", "alg": "PS256"}),
}


@pytest.fixture
def fake(clock: VirtualClock) -> Fake:
    return Fake(clock)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_each_code_is_redeemed_by_an_assertion_of_its_own(
    new_gateway: NewGateway, fake: Fake, clock: VirtualClock, tmp_path: Path, algorithm: str
) -> None:
    key, file = KEYS[algorithm], tmp_path / "key.json"
    file.write_text(json.dumps(key.as_dict(private=True)))
    gateway = await federated(new_gateway, fake, client_key_file=str(file))
    seen: set[str] = set()
    for _ in range(2):
        assert (await enter(gateway, fake)).status_code == 200
        sent = fake.redeemed
        assert (sent["client_id"], sent["client_assertion_type"]) == ("hostler", ASSERTION)
        assert fake.authorization is None
        assert "client_secret" not in sent
        read = jwt.decode(sent["client_assertion"], key, algorithms=[algorithm])
        assert (read.header["alg"], read.header["kid"]) == (algorithm, "mine")
        assert read.claims["iss"] == read.claims["sub"] == "hostler"
        assert read.claims["aud"] == f"{ISSUER}/token"
        assert read.claims["exp"] - clock().timestamp() <= 60
        seen.add(read.claims["jti"])
    assert len(seen) == 2


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        json.dumps(KEYS["ES256"].as_dict(private=False)),
        json.dumps(OctKey.generate_key(256).as_dict(private=True)),
    ],
    ids=["text", "nothing", "public", "secret"],
)
async def test_a_key_that_is_none_is_a_503_and_is_not_shown(
    new_gateway: NewGateway, fake: Fake, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key.json"
    file.write_text(text)
    gateway = await federated(new_gateway, fake, client_key_file=str(file))
    answer = await enter(gateway, fake)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert fake.redeemed == {}
    assert str(file) not in answer.text


@pytest.mark.parametrize("many", [0, 2])
def test_there_is_one_way_to_prove_it(tmp_path: Path, many: int) -> None:
    file = tmp_path / "key.json"
    file.write_text("{}")
    ways = {"client_secret": SECRET, "client_key_file": str(file)}
    chosen = dict(list(ways.items())[:many])
    with pytest.raises(ValidationError, match="give one of"):
        OidcProvider.model_validate({"issuer": ISSUER, "client_id": "hostler", **chosen})
