"""Mail: what is committed is sent, by one gateway, also when the server was away; over real SMTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import select

from chassis.testing import VirtualClock
from services.gateway.context import Gateway
from services.gateway.identity.mail import Letter, Shown, Smtp, UndeliverableError
from services.gateway.identity.tables import MAIL
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import ADA, BOB, CHEAP, Postbox, deliver, postbox

LETTER = Letter(ADA, "Grüße", "Ein Gruß\n" + "x" * 2000 + "\n")


class Kept:
    """What an SMTP server took, and what it says to those that it does not take."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refusal: str | None = None

    async def handle_RCPT(  # noqa: N802 - as aiosmtpd calls it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusal is not None:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"


@asynccontextmanager
async def smtp_server() -> AsyncGenerator[tuple[Kept, str]]:
    """A real SMTP server on loopback: what it keeps, and its URL."""
    kept, loop = Kept(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(kept, loop=loop), "127.0.0.1", 0)
    try:
        yield kept, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def wait_for_mail(gateway: Gateway, email: str = BOB) -> None:
    async with gateway.database.session() as session:
        await gateway.identity.post.take(session, "password_set", email)


async def waiting(gateway: Gateway) -> int:
    async with gateway.database.reading() as session:
        return len((await session.execute(select(MAIL.c.id))).all())


@asynccontextmanager
async def sending(gateway: Gateway) -> AsyncGenerator[None]:
    """The background task that sends."""
    task = asyncio.create_task(gateway.identity.post.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_mail_arrives_at_a_real_server(new_gateway: NewGateway) -> None:
    async with smtp_server() as (kept, url):
        gateway = await new_gateway(
            password_memory=CHEAP, smtp_url=url, mail_from="vm@example.org", first_admin=ADA
        )
        async with gateway.database.session() as session:
            await gateway.identity.ensure_first_admin(session)
        await deliver(gateway)
    [envelope] = kept.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("vm@example.org", [ADA])
    content = envelope.content
    assert isinstance(content, bytes)
    message = message_from_bytes(content, policy=default)
    assert (message["To"], message["Auto-Submitted"]) == (ADA, "auto-generated")
    assert await waiting(gateway) == 0


async def test_text_of_any_kind_arrives_as_it_was() -> None:
    async with smtp_server() as (kept, url):
        await Smtp(url, "vm@example.org").send(LETTER)
    content = kept.envelopes[0].content
    assert isinstance(content, bytes)
    message = message_from_bytes(content, policy=default)
    assert message["Subject"] == LETTER.subject
    body = message.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == LETTER.text


async def test_a_server_without_encryption_is_not_used_where_encryption_is_asked_for() -> None:
    async with smtp_server() as (kept, url):
        demanding = Smtp(url.replace("smtp://", "smtp+starttls://"), "vm@example.org")
        with pytest.raises(Exception, match="STARTTLS"):
            await demanding.send(LETTER)
    assert kept.envelopes == []


async def test_a_refusal_for_good_is_told_apart_from_one_for_now() -> None:
    async with smtp_server() as (kept, url):
        kept.refusal = "550 no such user"
        with pytest.raises(UndeliverableError):
            await Smtp(url, "vm@example.org").send(LETTER)
        kept.refusal = "451 try later"
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any but one
            await Smtp(url, "vm@example.org").send(LETTER)
        assert not isinstance(caught.value, UndeliverableError)


async def test_a_server_that_was_away_gets_the_mail_later(
    gateway: Gateway, box: Postbox, clock: VirtualClock
) -> None:
    box.breaks = [ConnectionRefusedError(), TimeoutError()]
    await wait_for_mail(gateway)
    for _ in range(3):
        await deliver(gateway)
        clock.advance(minutes=1)
    assert [letter.to for letter in box.letters] == [BOB]
    assert await waiting(gateway) == 0


async def test_a_mail_that_nobody_takes_is_given_up_after_a_day(
    gateway: Gateway, box: Postbox, clock: VirtualClock
) -> None:
    await wait_for_mail(gateway)
    while await waiting(gateway):
        box.breaks = [ConnectionRefusedError()]
        await deliver(gateway)
        clock.advance(minutes=15)
    assert box.letters == []


async def test_a_mail_that_is_refused_for_good_is_not_tried_again(
    gateway: Gateway, box: Postbox
) -> None:
    box.breaks = [UndeliverableError("no such user")]
    await wait_for_mail(gateway)
    await deliver(gateway)
    assert (await waiting(gateway), box.letters) == (0, [])


async def test_a_mail_that_cannot_be_written_holds_up_no_other(
    gateway: Gateway, box: Postbox, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wait_for_mail(gateway, ADA)
    clock.advance(seconds=1)
    await wait_for_mail(gateway, BOB)
    write = gateway.identity.post.letters.password_set

    def broken(to: str) -> Letter:
        if to == ADA:
            raise KeyError("a bug")
        return write(to)

    monkeypatch.setattr(gateway.identity.post.letters, "password_set", broken)
    await deliver(gateway)
    assert [letter.to for letter in box.letters] == [BOB]
    assert await waiting(gateway) == 1


async def test_a_gateway_that_is_killed_over_a_mail_leaves_it_to_the_next(
    gateway: Gateway, box: Postbox, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    class Killed(BaseException):
        pass

    async def killed(_letter: Letter) -> None:
        raise Killed

    box.send = killed  # type: ignore[method-assign]
    await wait_for_mail(gateway)
    with pytest.raises(Killed):
        await gateway.identity.post.send_next()
    replica = await new_gateway(password_memory=CHEAP)
    theirs = postbox(replica)
    assert await replica.identity.post.send_next() is False
    clock.advance(seconds=61)
    await deliver(replica)
    assert [letter.to for letter in theirs.letters] == [BOB]


async def test_two_gateways_send_each_mail_once(
    gateway: Gateway, box: Postbox, new_gateway: NewGateway
) -> None:
    replica = await new_gateway(password_memory=CHEAP)
    theirs = postbox(replica)
    for n in range(10):
        await wait_for_mail(gateway, f"user{n}@example.org")
    await asyncio.gather(deliver(gateway), deliver(replica))
    sent = [letter.to for letter in box.letters + theirs.letters]
    assert sorted(sent) == sorted(f"user{n}@example.org" for n in range(10))


async def test_a_mail_that_comes_is_sent_at_once(gateway: Gateway, box: Postbox) -> None:
    async with sending(gateway):
        await asyncio.sleep(0)
        await wait_for_mail(gateway)
        async with asyncio.timeout(4):
            while not box.letters:
                await asyncio.sleep(0.01)


async def test_without_a_server_mails_are_shown() -> None:
    shown: list[str] = []
    await Shown(shown.append).send(LETTER)
    assert ADA in shown[0]
    assert LETTER.text in shown[0]
