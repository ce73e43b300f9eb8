"""Passkeys: the two ceremonies of WebAuthn, with challenges that are good once.

Whoever answers has unlocked the key (user verification): so it stands for two factors by itself, and
may begin a session without a password.
"""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    options_to_json_dict,
    parse_client_data_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from chassis.leases import Clock
from services.gateway.identity.challenges import LIFETIME, Challenges, Purpose
from services.gateway.identity.tables import FACTORS

Answer = dict[str, JsonValue]
"""A `PublicKeyCredential` as browsers write it with `toJSON()`."""
_PATIENCE = int(LIFETIME.total_seconds() * 1000)
_TRUSTED = UserVerificationRequirement.REQUIRED
_UNREADABLE: tuple[type[Exception], ...] = (
    WebAuthnException,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
)
"""What the library raises of answers that are none."""
_LONGEST_ID = 1023


@dataclass(frozen=True)
class Site:
    """For whom passkeys are made (`id`: a domain), and the pages from which they are used."""

    id: str
    origins: tuple[str, ...]


class Passkeys:
    """Asks, and judges the answers."""

    def __init__(self, site: Site, challenges: Challenges, clock: Clock) -> None:
        self.site = site
        self.clock = clock
        self._challenges = challenges

    async def ask_for_new(self, session: AsyncSession, user: Row[Any]) -> dict[str, Any]:
        """Options for `navigator.credentials.create()`."""
        wanted = AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=_TRUSTED
        )
        options = generate_registration_options(
            rp_id=self.site.id,
            rp_name="Hostler",
            user_id=user.id.bytes,
            user_name=user.email,
            user_display_name=user.name or user.email,
            challenge=await self._challenges.make(session, "enrol", user.id),
            timeout=_PATIENCE,
            authenticator_selection=wanted,
            exclude_credentials=await _held_by(session, user.id),
        )
        return options_to_json_dict(options)

    async def judge_new(
        self, session: AsyncSession, user_id: UUID, answer: Answer
    ) -> VerifiedRegistration | None:
        """The key that was made; None if the answer is not to our question, from our pages."""
        challenge = await self._taken(session, answer, "enrol", user_id)
        if challenge is None:
            return None
        try:
            made = verify_registration_response(
                credential=cast("dict[str, Any]", answer),
                expected_challenge=challenge,
                expected_rp_id=self.site.id,
                expected_origin=list(self.site.origins),
                require_user_verification=True,
            )
        except _UNREADABLE:
            return None
        return made if len(made.credential_id) <= _LONGEST_ID else None

    async def ask(
        self, session: AsyncSession, purpose: Purpose, user_id: UUID | None = None
    ) -> dict[str, Any]:
        """Options for `navigator.credentials.get()`; without `user_id` whoever has a passkey may answer."""
        options = generate_authentication_options(
            rp_id=self.site.id,
            challenge=await self._challenges.make(session, purpose, user_id),
            timeout=_PATIENCE,
            allow_credentials=await _held_by(session, user_id) if user_id else [],
            user_verification=_TRUSTED,
        )
        return options_to_json_dict(options)

    async def judge(
        self, session: AsyncSession, answer: Answer, purpose: Purpose, user_id: UUID | None = None
    ) -> "Judged | None":
        """The factor that the answer is by, to be `use`d; None if it is no answer to our question."""
        challenge = await self._taken(session, answer, purpose, user_id)
        row = await _named(session, answer, user_id)
        if challenge is None or row is None:
            return None
        try:
            judged = verify_authentication_response(
                credential=cast("dict[str, Any]", answer),
                expected_challenge=challenge,
                expected_rp_id=self.site.id,
                expected_origin=list(self.site.origins),
                credential_public_key=row.public_key,
                credential_current_sign_count=0,  # `use` compares it, for all gateways together
                require_user_verification=True,
            )
        except _UNREADABLE:
            return None
        return Judged(row.id, row.user_id, judged.new_sign_count)

    async def use(self, session: AsyncSession, judged: "Judged") -> bool:
        """Write down that it was used; False if its counter went back: then there may be a copy of it."""
        count = judged.sign_count
        forward = FACTORS.c.sign_count < count
        uncounted = (FACTORS.c.sign_count == 0) if count == 0 else forward
        using = update(FACTORS).where(FACTORS.c.id == judged.factor_id, or_(forward, uncounted))
        using = using.values(sign_count=count, last_used_at=self.clock())
        return await session.scalar(using.returning(FACTORS.c.id)) is not None

    async def _taken(
        self, session: AsyncSession, answer: Answer, purpose: Purpose, user_id: UUID | None
    ) -> bytes | None:
        """The challenge that the answer names, used up by it whether it holds or not."""
        challenge = _challenge_of(answer)
        if challenge is None or not await self._challenges.take(
            session, challenge, purpose, user_id
        ):
            return None
        return challenge


@dataclass(frozen=True)
class Judged:
    """An answer that holds: by which passkey of whom, and how often that was used by its own count."""

    factor_id: UUID
    user_id: UUID
    sign_count: int


async def _held_by(session: AsyncSession, user_id: UUID) -> list[PublicKeyCredentialDescriptor]:
    theirs = (FACTORS.c.user_id == user_id) & (FACTORS.c.kind == "passkey")
    found = await session.scalars(select(FACTORS.c.credential_id).where(theirs))
    return [PublicKeyCredentialDescriptor(id=each) for each in found]


async def _named(session: AsyncSession, answer: Answer, user_id: UUID | None) -> Row[Any] | None:
    """The passkey that an answer names, which says itself whose it is where nobody else does."""
    try:
        named = base64url_to_bytes(str(answer.get("id")))
    except ValueError:
        return None
    whose = FACTORS.c.user_id == user_id if user_id else FACTORS.c.confirmed_at.is_not(None)
    row = (
        await session.execute(select(FACTORS).where(FACTORS.c.credential_id == named, whose))
    ).first()
    said = _response(answer).get("userHandle")
    if row is None or (said is None and user_id is None):
        return None
    return row if said is None or said == bytes_to_base64url(row.user_id.bytes) else None


def _challenge_of(answer: Answer) -> bytes | None:
    """The challenge in the data that the browser has put together; None from within another's page."""
    try:
        raw = base64url_to_bytes(str(_response(answer).get("clientDataJSON")))
        said = parse_client_data_json(raw)
    except (*_UNREADABLE, RecursionError):
        return None
    return None if said.cross_origin else said.challenge


def _response(answer: Answer) -> dict[str, JsonValue]:
    response = answer.get("response")
    return response if isinstance(response, dict) else {}
