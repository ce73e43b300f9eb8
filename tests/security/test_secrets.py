"""A whole story with marked secrets in every place that takes one: nothing of them shows outside.

Looked through are the log at its finest, all records of Kafka, the files of the databases, spans,
metrics and every answer. That this would find something is shown by letting one through.
"""

import base64
import json
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from pythonjsonlogger.json import JsonFormatter

from chassis import telemetry
from chassis.database import Database
from chassis.migrations import migrate
from chassis.service import Service
from chassis.testing import VirtualClock, unsaid
from chassis.wire import Record
from contracts.vm.commands import Create
from services.audit.app import Audit
from services.gateway.context import Gateway
from services.gateway.desk import Desk
from services.gateway.identity.mail import Smtp
from services.gateway.intake import Accepted, Asked
from services.gateway.sealing import Sealer
from services.provisioner.app import Provisioner
from services.provisioner.app import build as build_provisioner
from services.provisioner.settings import ProvisionerSettings
from tests.unit.audit.world import made as made_audit
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import ADA, bearer, make_user, nobody, postbox
from tests.unit.gateway.world import CATALOG, CREATE, hear_catalog


def mark(name: str) -> str:
    """A secret that can be known again, long enough for every place."""
    return f"Marked-{name}-{'q7' * 18}"


PEPPER, INTERNAL, SMTP, REDIS, CLOUD = map(mark, ("pepper", "internal", "smtp", "redis", "cloud"))
FIRST, USER_DATA, MISPLACED = mark("firstkey"), mark("userdata"), mark("misplaced")
PASSWORD, MISTYPED, NEXT = mark("password"), mark("mistyped"), mark("next")
STRANGE_KEY, STRANGE_TOKEN = mark("strangekey"), mark("strangetoken")
BOX = base64.b64encode(f"#cloud-config\npassword: {USER_DATA}".encode()).decode()
CLOUDS = f"""clouds:
  simulator:
    auth:
      auth_url: http://127.0.0.1:9/v3
      username: demo
      password: {CLOUD}
      project_name: demo
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
"""


@dataclass
class Story:
    """What happened, and what of it can be seen."""

    gateway: Gateway
    provisioner: Provisioner
    audit: Audit
    files: list[Path]
    log: list[str] = field(default_factory=list[str])
    records: list[Record] = field(default_factory=list[Record])
    answers: list[str] = field(default_factory=list[str])
    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    secrets: dict[str, str] = field(default_factory=dict[str, str])

    def leaks(self) -> set[tuple[str, str]]:
        """(where, which secret) of all that is seen and may not be."""
        metrics = generate_latest().decode()
        places = {
            "log": "\n".join(self.log),
            "kafka": "\n".join(map(_text, self.records)),
            "database": "".join(_bytes(path).decode("latin-1") for path in self.files),
            "spans": "\n".join(span.to_json() for span in self.spans.get_finished_spans()),
            "metrics": metrics,
            "answers": "\n".join(self.answers),
        }
        assert all(places.values()), {name: len(text) for name, text in places.items()}
        return {
            (place, name)
            for place, text in places.items()
            for name, secret in self.secrets.items()
            if any(shape in text for shape in _shapes(secret))
        }

    async def ask(
        self, who: httpx.AsyncClient, method: str, path: str, body: object = None, **shown: str
    ) -> dict[str, Any]:
        """The answer; `shown`: members that are secrets which this answer alone may hold."""
        answer = await who.request(method, path, json=body)
        text = f"{answer.status_code} {dict(answer.headers)} {answer.text}"
        said: dict[str, Any] = answer.json() if answer.content else {}
        for name, member in shown.items():
            assert said.get(member), (method, path, answer.status_code, answer.text)
            self.secrets[name] = said[member]
            text = text.replace(said[member], "")
        self.answers.append(text)
        return said

    async def pass_on(self) -> None:
        """What the gateway and the provisioner have said goes to whom it concerns."""
        for service in (self.gateway.service, self.provisioner):
            records = await unsaid(service.database)
            self.records += records
            for record in records:
                for other in (self.gateway.service, self.provisioner, self.audit.service):
                    await _hear(other, record)


def _shapes(secret: str) -> set[str]:
    """How it may stand somewhere: as it is, in base64 at any place, in hex, and escaped."""
    raw = secret.encode()
    cut = [
        base64.b64encode(b"\0" * n + raw).decode()[4 : -4 if len(raw) > 8 else None]
        for n in (0, 1, 2)
    ]
    return {secret, raw.hex(), json.dumps(secret)[1:-1], *cut}


def _bytes(path: Path) -> bytes:
    """A SQLite file, with what of it stands in its log of writes."""
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def _text(record: Record) -> str:
    return f"{record.key} {record.headers} {record.value.decode('utf-8', 'replace')}"


async def _hear(service: Service, record: Record) -> None:
    for consumer in service.consumers:
        if consumer.topic.name == record.topic:
            await consumer.consume([replace(record, offset=record.offset or 1)])


class _Kept(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.lines = lines
        self.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s %(pathname)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def watching(story: Story, patch: pytest.MonkeyPatch) -> Generator[None]:
    """Every log line of ours, and every span, of what happens within."""
    handler, root = _Kept(story.log), logging.getLogger()
    level = root.level
    ours = [
        logging.getLogger(name)
        for name in ("services", "chassis", "drivers", "httpx", "aiosmtplib")
    ]
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(story.spans))
    patch.setattr(trace, "_TRACER_PROVIDER", provider)
    patch.setattr(telemetry, "TRACER", provider.get_tracer("hostler"))
    root.addHandler(handler)
    for each in ours:
        each.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for each in ours:
            each.setLevel(logging.NOTSET)


@pytest.fixture
async def story(
    new_gateway: NewGateway,
    sqlite_url: str,
    clock: VirtualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[Story]:
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(CLOUDS)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds))
    gateway = await new_gateway(
        internal_secret=INTERNAL,
        key_pepper=PEPPER,
        first_api_key=FIRST,
        smtp_url=f"smtp://mailer:{SMTP}@127.0.0.1:9",
        redis_url=f"redis://:{REDIS}@127.0.0.1:9/0",
        password_memory=19456,
    )
    files = {name: tmp_path / f"{name}.db" for name in ("provisioner", "audit")}
    for name, path in files.items():
        database = Database(f"sqlite+aiosqlite:///{path}", name)
        await migrate(database)
        await database.close()
    settings = ProvisionerSettings.model_validate(
        {
            "database_url": f"sqlite+aiosqlite:///{files['provisioner']}",
            "internal_secret": INTERNAL,
        }
    )
    provisioner = build_provisioner(settings, clock=clock)
    audit = made_audit(f"sqlite+aiosqlite:///{files['audit']}", clock, internal_secret=INTERNAL)
    own = Path(sqlite_url.removeprefix("sqlite+aiosqlite:///"))
    told = Story(gateway, provisioner, audit, [own, *files.values()])
    told.secrets |= {
        name.lower(): value
        for name, value in globals().items()
        if isinstance(value, str) and value.startswith("Marked-")
    }
    yield told
    await provisioner.clouds.close()
    await provisioner.database.close()
    await audit.service.database.close()


@asynccontextmanager
async def everybody(story: Story) -> AsyncGenerator[tuple[httpx.AsyncClient, ...]]:
    gateway = story.gateway
    async with (
        client(gateway, FIRST) as admin,
        client(gateway, STRANGE_KEY) as strange,
        bearer(gateway, STRANGE_TOKEN) as forged,
        nobody(gateway) as anybody,
    ):
        yield admin, strange, forged, anybody


async def play(story: Story, patch: pytest.MonkeyPatch) -> None:
    """People, keys, tokens, links, a VM; each also where it fails."""
    with watching(story, patch):
        await hear_catalog(story.gateway, *CATALOG)
        async with everybody(story) as (admin, strange, forged, anybody):
            await people(story, anybody)
            await machines(story, admin)
            await failures(story, admin, strange, forged)
        await story.pass_on()
        await story.provisioner.worker.step()
        await story.provisioner.worker.step()
        await unreachable_mail(story)
        await story.pass_on()
        await story.pass_on()


async def people(story: Story, anybody: httpx.AsyncClient) -> None:
    """Log in, out, wrongly; a link and the password that follows from it."""
    gateway = story.gateway
    box = postbox(gateway)
    await make_user(gateway, ADA, is_admin=True, password=PASSWORD)
    login = {"email": ADA, "password": PASSWORD}
    tokens = await story.ask(
        anybody, "POST", "/v1/auth/login", login, access="access_token", refresh="refresh_token"
    )
    await story.ask(anybody, "POST", "/v1/auth/login", {"email": ADA, "password": MISTYPED})
    again = {"refresh_token": tokens["refresh_token"]}
    await story.ask(
        anybody, "POST", "/v1/auth/refresh", again, second="access_token", next_one="refresh_token"
    )
    await story.ask(anybody, "POST", "/v1/auth/refresh", again)
    async with bearer(gateway, tokens) as ada:
        await story.ask(ada, "POST", "/v1/auth/token-keys", {})
        wrong = {"current": MISTYPED, "password": NEXT}
        await story.ask(ada, "POST", "/v1/me/password", wrong)
    await story.ask(anybody, "POST", "/v1/auth/forgot", {"email": ADA})
    while await gateway.identity.post.send_next():
        pass
    story.secrets["link"] = box.token()
    link = {"token": box.token(), "password": NEXT}
    await story.ask(anybody, "POST", "/v1/auth/password", link)
    await story.ask(anybody, "POST", "/v1/auth/password", link)


async def machines(story: Story, admin: httpx.AsyncClient) -> None:
    """Keys of programs, a VM with something to tell it, and the record of it, broken."""
    made = await story.ask(
        admin, "POST", "/v1/api-keys", {"name": "ci", "role": "operator"}, made_key="key"
    )
    await story.ask(admin, "POST", f"/v1/api-keys/{made['id']}/rotate", {}, rotated_key="key")
    signing = {"name": "hmac", "algorithm": "hmac-sha256"}
    await story.ask(admin, "POST", "/v1/signing-keys", signing, signing_key="secret")
    await story.ask(admin, "POST", "/v1/vms", CREATE | {"user_data": BOX})
    records = await unsaid(story.gateway.database)
    story.records += records
    for record in records:
        for service in (story.provisioner, story.audit.service):
            await _hear(service, record)
        if record.headers["ce_type"] == Create.wire_name():
            broken = replace(record, value=record.value.replace(b'"flavor"', b'"flavour"'))
            await _hear(story.provisioner, broken)


async def failures(
    story: Story, admin: httpx.AsyncClient, strange: httpx.AsyncClient, forged: httpx.AsyncClient
) -> None:
    """What is refused tells nothing of what it held."""
    for who in (strange, forged):
        await story.ask(who, "GET", "/v1/vms")
        await story.ask(who, "POST", "/v1/vms", CREATE | {"user_data": BOX})
    for body in (
        CREATE | {"user_data": f"!{MISPLACED}"},
        CREATE | {"password": MISPLACED},
        CREATE | {"user_data": BOX, "flavor": "none"},
        CREATE
        | {"user_data": BOX, "sealed_user_data": {"box": MISPLACED, "length": 1, "digest": ""}},
        {"name": {"user_data": MISPLACED}},
    ):
        answer = await story.ask(admin, "POST", "/v1/vms", body)
        assert answer["status"] == 400
    await story.ask(admin, "GET", "/readyz")
    await story.ask(admin, "GET", "/v1/audit/verify")


async def unreachable_mail(story: Story) -> None:
    """A mail server, the rates' store and a database that are not there, with passwords to them."""
    gateway = story.gateway
    url = gateway.settings.smtp_url
    assert url is not None
    gateway.identity.post.mailer = Smtp(url.get_secret_value(), "hostler@example.org")
    async with gateway.database.session() as session:
        await gateway.identity.post.take(session, "password_set", ADA)
    await gateway.identity.post.send_next()


async def test_nothing_secret_is_seen_from_outside(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(story, monkeypatch)
    assert story.leaks() == set()
    types = {record.headers["ce_type"] for record in story.records}
    assert {"vm.create.v1", "operation.retrying.v1", "dead.letter.v1", "login.failed.v1"} <= types
    assert any("mail" in line for line in story.log)


def seal_nothing(patch: pytest.MonkeyPatch) -> None:
    """user_data goes as it came."""

    def seal(_self: Sealer, create: Create, *_: object) -> Create:
        return create

    patch.setattr(Sealer, "seal", seal)


def log_commands(patch: pytest.MonkeyPatch) -> None:
    """Somebody logs what is asked for, to find a bug."""
    accept = Desk.accept

    async def talkative(self: Desk, asked: Asked) -> Accepted:
        logging.getLogger("services.gateway.desk").info("accepting %r", asked)
        return await accept(self, asked)

    patch.setattr(Desk, "accept", talkative)


def tell_in_spans(patch: pytest.MonkeyPatch) -> None:
    """Somebody puts the password into a span."""
    send = Smtp.send

    async def traced(self: Smtp, letter: Any) -> None:
        with telemetry.TRACER.start_as_current_span("mail", attributes={"password": SMTP}):
            await send(self, letter)

    patch.setattr(Smtp, "send", traced)


@pytest.mark.parametrize(
    ("sabotage", "found"),
    [
        (seal_nothing, {("kafka", "user_data"), ("database", "user_data")}),
        (log_commands, {("log", "user_data")}),
        (tell_in_spans, {("spans", "smtp")}),
    ],
)
async def test_one_that_is_let_through_is_found(
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Callable[[pytest.MonkeyPatch], None],
    found: set[tuple[str, str]],
) -> None:
    sabotage(monkeypatch)
    await play(story, monkeypatch)
    assert story.leaks() >= found
