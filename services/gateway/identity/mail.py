"""How mail leaves: by SMTP, or, where no server is set, to whoever reads the gateway's stderr."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_START_TLS = {"smtp": None, "smtp+starttls": True, "smtps": False}
_SECONDS = 20.0
_PERMANENT = 500


@dataclass(frozen=True)
class Letter:
    """One mail. Nothing in it is written by callers, but for the address."""

    to: str
    subject: str
    text: str


class UndeliverableError(Exception):
    """The server has said no, and will say no again."""


class Mailer(Protocol):
    """Whatever can send a letter."""

    def send(self, letter: Letter) -> Awaitable[None]:
        """Return once somebody else is in charge of it; raise if nobody is."""
        ...


class Smtp:
    """A mail server. `url`: `smtp+starttls://USER:PASSWORD@HOST:PORT` and its kin."""

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._sender = sender
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._start_tls = _START_TLS[parts.scheme]
        self._use_tls = parts.scheme == "smtps"
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None

    async def send(self, letter: Letter) -> None:
        """Hand it over; UndeliverableError if the server refuses the address or the letter for good."""
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = self._sender, letter.to
        message["Subject"] = letter.subject
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password,
                use_tls=self._use_tls,
                start_tls=self._start_tls,
                timeout=_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(each.code >= _PERMANENT for each in error.recipients):
                raise UndeliverableError("the server refuses the address") from error
            raise
        except aiosmtplib.SMTPDataError as error:
            if error.code >= _PERMANENT:
                raise UndeliverableError(f"the server refuses the mail: {error.code}") from error
            raise


class Shown:
    """Tells instead of sending: for one machine, and for the first admin of all."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    async def send(self, letter: Letter) -> None:
        """Tell it."""
        self._show(f"mail to {letter.to}: {letter.subject}\n{letter.text}")
