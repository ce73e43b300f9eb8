"""docker-compose.yml says what services know, hands nobody another's secrets, and leaves Kafka shut."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from chassis.settings import Settings
from deploy.kafka.grants import ADMIN, BROKER, TOPICS_PRINCIPAL, principal_of
from deploy.kafka.locks import prepare
from services.audit.settings import AuditSettings
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from services.provisioner.settings import ProvisionerSettings
from services.sync.settings import SyncSettings
from tests.deploy.composition import DOCKERFILE, ROOT, Stanza, fill, read
from tests.deploy.rehearsal import properties

SETTINGS: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "provisioner": ProvisionerSettings,
    "sync": SyncSettings,
    "audit": AuditSettings,
    "rebuild": GatewaySettings,
    "topics": Settings,
    "grants": Settings,
}
SHARED = {"HOSTLER_PROJECTS", "HOSTLER_SWEEP_INTERVAL_SECONDS"}
"""Given to all, whoever reads them."""
CONDITIONS = {"service_healthy", "service_completed_successfully"}
SECRETS = {"HOSTLER_COMMAND_KEY": "gateway rebuild", "HOSTLER_SEALING_KEYS": "provisioner"}
STANZAS = read({}).stanzas


def known(kind: type[BaseSettings]) -> set[str]:
    return {f"HOSTLER_{name.upper()}" for name in kind.model_fields}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A:-b}", "b"),
        ("x${SET:-b}y", "xgiveny"),
        ('${A:-{"demo":"simulator"}}', '{"demo":"simulator"}'),
        ("^CN=$$/$$1/", "^CN=$/$1/"),
        ("${NONE}", ""),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, filled: str) -> None:
    assert fill(text, {"SET": "given"}) == filled


def test_what_the_images_are_made_of_reaches_their_build() -> None:
    """.dockerignore leaves everything out but what it names."""
    lines = (ROOT / ".dockerignore").read_text().split()
    named = [line.removeprefix("!") for line in lines if line.startswith("!")]
    steps = [line.split() for line in DOCKERFILE.read_text().splitlines()]
    copied = [words[1:-1] for words in steps if words[:1] == ["COPY"]]
    sources = {one for some in copied if not some[0].startswith("--from") for one in some}
    assert sources >= {"chassis", "deploy/kafka"}
    reaching = {s for s in sources if any(Path(s).is_relative_to(n) for n in named)}
    whole = {s for s in sources - reaching if any(Path(n).is_relative_to(s) for n in named)}
    assert sources - reaching - whole == set()
    assert all((ROOT / source).exists() for source in sources)


def test_what_is_referred_to_is_there() -> None:
    composed = read({})
    assert {s.name for s in composed.order()} == {n for n, s in STANZAS.items() if not s.profiles}
    for stanza in STANZAS.values():
        assert set(stanza.conditions.values()) <= CONDITIONS, stanza.name
        healthy = [n for n, c in stanza.conditions.items() if c == "service_healthy"]
        assert all(STANZAS[name].check for name in healthy), stanza.name
        named = {s for s in stanza.mounts.values() if not s.startswith((".", "/"))}
        assert named <= composed.volumes, stanza.name
    used = {source for s in STANZAS.values() for source in s.mounts.values()}
    assert composed.volumes <= used


@pytest.mark.parametrize("name", list(SETTINGS))
def test_no_setting_is_given_that_nobody_reads(name: str) -> None:
    """A name with a slip in it would be ignored in silence. All services share some."""
    everybodys = set[str]().union(*map(known, SETTINGS.values()))
    handed_on = dict.fromkeys(everybodys, "x")
    stanza = read(handed_on).stanzas[name]
    said = {each for each in stanza.environment if each.startswith("HOSTLER_")}
    assert said - SHARED <= known(SETTINGS[name])
    assert said <= everybodys


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locks")
    prepare(folder, ["kafka"], datetime.now(UTC))
    return folder


def placed(stanza: Stanza, locks: Path) -> dict[str, str]:
    """Its environment, in which files are where they are on this machine."""
    mine = f"{locks}/{stanza.environment.get('HOSTLER_KAFKA_USERNAME', '')}"
    return {
        k: v.replace("/lock/", f"{mine}/")
        .replace("/locks/", f"{locks}/")
        .replace("/policy/", f"{ROOT}/deploy/policy/")
        for k, v in stanza.environment.items()
    }


@pytest.mark.parametrize("name", list(SETTINGS))
def test_the_settings_that_are_given_are_accepted(
    name: str, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in placed(STANZAS[name], locks).items():
        monkeypatch.setenv(variable, value)
    made = SETTINGS[name]()
    assert made.kafka_security_protocol in {"SASL_SSL", "SSL"}
    if isinstance(made, GatewaySettings):
        assert made.policy_file is not None
        build(made, show=lambda _: None)


@pytest.mark.parametrize("name", [*SETTINGS, "kafka", "locks"])
def test_each_is_handed_its_own_lock_alone(name: str) -> None:
    held = {s for s in STANZAS[name].mounts.values() if s.startswith("lock-")}
    users = {"topics": TOPICS_PRINCIPAL, "kafka": BROKER}
    if name in {"locks", "grants"}:
        assert f"lock-{ADMIN.removeprefix('hostler-')}" in held
        return
    user = users.get(name, principal_of(name))
    assert held == {f"lock-{user.removeprefix('hostler-')}"}
    if name != "kafka":
        assert STANZAS[name].environment["HOSTLER_KAFKA_USERNAME"] == user


@pytest.mark.parametrize("secret", list(SECRETS))
def test_what_signs_and_what_opens_are_known_to_one_side_each(secret: str) -> None:
    stanzas = read({secret: "x"}).stanzas.values()
    assert {s.name for s in stanzas if secret in s.environment} == set(SECRETS[secret].split())


def test_kafka_listens_to_nobody_whom_it_does_not_know() -> None:
    said = dict(
        line.split("=", 1) for line in properties(STANZAS["kafka"].environment).splitlines()
    )
    protocols = dict(each.split(":") for each in said["listener.security.protocol.map"].split(","))
    names = {each.split(":")[0] for each in said["listeners"].split(",")}
    assert names == set(protocols)
    assert set(protocols.values()) == {"SASL_SSL", "SSL"}
    certified = {name.lower() for name, protocol in protocols.items() if protocol == "SSL"}
    asks = {n for n in certified if said[f"listener.name.{n}.ssl.client.auth"] == "required"}
    assert asks == certified
    assert said["allow.everyone.if.no.acl.found"] == "false"
    assert "authorizer.class.name" in said
    assert said["super.users"] == f"User:{BROKER};User:{ADMIN}"
