"""Sync gives way to commands: of a cloud that is too busy for them it asks less, for a while.

Each process has a governor of its own, so that the provisioner's orders and sync's sweeps never
wait in one line. What the provisioner says of an order that a cloud put off is heard here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.errors import ErrorCode
from contracts.message import Body, Message
from contracts.operation import events as operation
from services.sync.tables import Account

TWICE = 2
"""Sweeps rest that many times as long as the command: it has the cloud to itself first."""


def asked_for(messages: Sequence[Message[Body]], most: timedelta) -> dict[str, datetime]:
    """By account until when to give way; `most`: for how long, whatever a cloud says."""
    found: dict[str, datetime] = {}
    for message in messages:
        match message.data:
            case operation.Retrying(error=error, due_at=due) if error.code is ErrorCode.CLOUD_BUSY:
                until = message.time + min((due - message.time) * TWICE, most)
                found[message.account] = max(until, found.get(message.account, until))
            case _:
                pass
    return found


async def give_way(session: AsyncSession, until: Mapping[str, datetime]) -> None:
    """Note it with the accounts, for whichever replica sweeps them."""
    for account, moment in sorted(until.items()):
        mine = Account.account == account
        sooner = or_(Account.retry_at.is_(None), Account.retry_at < moment)
        await session.execute(update(Account).where(mine, sooner).values(retry_at=moment))


def still(now: datetime) -> ColumnElement[datetime | None]:
    """What is left of it: a sweep that was under way meanwhile does not end it."""
    return case((Account.retry_at > now, Account.retry_at), else_=None)


def not_before(account: Account, slow: timedelta) -> datetime | None:
    """The earliest moment of the next sweep; where the cloud failed, when that says so.

    Who gives way sweeps no less often than in quiet times: operations wait for what it sees.
    """
    if account.retry_at is None or account.failures or account.swept_at is None:
        return account.retry_at
    return min(account.retry_at, account.swept_at + slow)


def may_list(
    account: Account | None, due: datetime | None, interval: timedelta, now: datetime
) -> bool:
    """Whether a catalog or an inventory that is due may be listed: put off once, not for ever.

    One that never was listed is due.
    """
    if account is None or due is None:
        return True
    gives_way = account.retry_at is not None and account.retry_at > now
    return due <= now and (not gives_way or due + interval <= now)
