"""Settings that are others than those of the last start: told once, by name alone.

What is kept of each setting is a digest by a key that follows from HOSTLER_INTERNAL_SECRET: whoever
reads the table learns no value, and can try none. Without it of what is secret is only kept whether
it is set. Where a replica listens is its own matter, and not compared.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.ids import new_id
from chassis.outbox import say
from chassis.settings import PREFIX, Settings
from chassis.tables import SETTINGS_SEEN
from contracts.message import Message
from contracts.trust.events import SettingsChanged

_BYTES = 32
_OF_A_REPLICA = {"http_host", "http_port"}
_KEY = f"{PREFIX}INTERNAL_SECRET"
Digests = dict[str, str]


async def tell_changed(
    session: AsyncSession, service: str, settings: Settings, now: datetime
) -> None:
    """Remember the settings, and say which ones changed; the first time there is nothing to say."""
    digests = digests_of(service, settings)
    row = {"digests": digests, "seen_at": now}
    first = insert(session, SETTINGS_SEEN).values(service=service, **row)
    first = first.on_conflict_do_nothing().returning(SETTINGS_SEEN.c.service)
    if await session.scalar(first) is not None:
        return
    mine = SETTINGS_SEEN.c.service == service
    query = select(SETTINGS_SEEN.c.digests).where(mine).with_for_update()
    before = cast("Digests", await session.scalar(query))
    if before == digests:
        return
    await session.execute(update(SETTINGS_SEEN).where(mine).values(row))
    names = _changed(before, digests)
    source = f"hostler/{service}"
    said = SettingsChanged(service=service, names=names, digest=_whole(service, settings, digests))
    message = Message[SettingsChanged](
        id=new_id(), source=source, time=now, subject=service, actor=source, data=said
    )
    await say(session, message)


def digests_of(service: str, settings: Settings) -> Digests:
    """Of each variable."""
    key, values = _key(service, settings), settings.model_dump()
    secret = settings.internal_secret.get_secret_value()
    return {
        f"{PREFIX}{name.upper()}": _digest(key, name, _plain(value, is_keyed=bool(secret)))
        for name, value in values.items()
        if name not in _OF_A_REPLICA
    }


def _changed(before: Digests, now: Digests) -> tuple[str, ...]:
    """The variables that are otherwise; under another key nobody can tell which others are."""
    if before.get(_KEY) != now[_KEY]:
        return (_KEY,)
    names = before.keys() | now.keys()
    return tuple(sorted(name for name in names if before.get(name) != now.get(name)))


def _whole(service: str, settings: Settings, digests: Digests) -> str:
    return _digest(_key(service, settings), "", cast("Any", digests))


def _key(service: str, settings: Settings) -> bytes:
    info = f"hostler {service} settings".encode()
    secret = settings.internal_secret.get_secret_value()
    return HKDF(SHA256(), _BYTES, salt=None, info=info).derive(secret.encode())


def _digest(key: bytes, name: str, value: object) -> str:
    said = json.dumps([name, value], sort_keys=True)
    return hmac.digest(key, said.encode(), "sha256").hex()


def _plain(value: object, *, is_keyed: bool) -> object:
    """What JSON can hold, the same for the same value."""
    match value:
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            return {str(k): _plain(v, is_keyed=is_keyed) for k, v in pairs}
        case list() | tuple() | set() | frozenset():
            many = [_plain(v, is_keyed=is_keyed) for v in cast("Iterable[object]", value)]
            return sorted(many, key=str) if isinstance(value, set | frozenset) else many
        case _:
            return _leaf(value, is_keyed=is_keyed)


def _leaf(value: object, *, is_keyed: bool) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value() if is_keyed else bool(value.get_secret_value())
        case str() if "@" in value and not is_keyed:  # a URL may hold a password
            return True
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)
