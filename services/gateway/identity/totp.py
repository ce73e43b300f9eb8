"""Codes of authenticator apps (TOTP, RFC 6238): six digits, 30 seconds, each good once."""

from io import BytesIO

import segno
from pyotp import random_base32
from pyotp.exceptions import OTPVerificationError
from pyotp.totp import TOTP
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from services.gateway.identity.sealing import Seal
from services.gateway.identity.tables import FACTORS

ISSUER = "Hostler"
WINDOW = 1
"""Steps before and after the present one whose codes are taken: clocks differ, people are slow."""
_SCALE = 6


class Totp:
    """Makes secrets, and checks codes against them. They lie sealed in the database."""

    def __init__(self, seal: Seal, clock: Clock) -> None:
        self.clock = clock
        self._seal = seal

    def make(self) -> tuple[str, bytes]:
        """A new secret in base32, and what is stored of it."""
        secret = random_base32()
        return secret, self._seal.close(secret.encode())

    async def take(
        self, session: AsyncSession, code: str, whose: ColumnElement[bool]
    ) -> bool | None:
        """Use a code up for one of these factors; None if it is wrong, False if it was used."""
        query = select(FACTORS).where(FACTORS.c.kind == "totp", whose)
        known = None
        for row in (await session.execute(query)).all():
            step = self._step(row.sealed, code)
            if step is None:
                continue
            known = False
            unused = or_(FACTORS.c.last_step.is_(None), FACTORS.c.last_step < step)
            using = update(FACTORS).where(FACTORS.c.id == row.id, unused)
            using = using.values(last_step=step, last_used_at=self.clock())
            if await session.scalar(using.returning(FACTORS.c.id)) is not None:
                return True
        return known

    def _step(self, sealed: bytes, code: str) -> int | None:
        """The time step that a code is of."""
        secret = self._seal.open(sealed)
        if secret is None:
            return None
        try:
            return TOTP(secret.decode()).verify_and_get_timecode(
                code, for_time=self.clock(), valid_window=WINDOW
            )
        except OTPVerificationError:
            return None


def uri_of(secret: str, account: str) -> str:
    """What an app takes in: `otpauth://totp/…`."""
    return TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def qr_of(uri: str) -> bytes:
    """The same as a picture, in PNG; some tens of milliseconds of work."""
    picture = BytesIO()
    segno.make_qr(uri, error="m").save(picture, kind="png", scale=_SCALE)
    return picture.getvalue()
