"""Which commands the provisioner believes, and what it tells the audit of those that it does not."""

import logging

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.ids import new_id
from chassis.leases import Clock
from chassis.seals import Keyring, Trust, sealed
from chassis.wire import Record
from contracts.message import Body, Message
from contracts.trust.events import CommandRefused
from services.provisioner import unheard
from services.provisioner.settings import ProvisionerSettings

LOG = logging.getLogger(__name__)
_LONGEST = 255


class Believing:
    """Reads the records of `vm.commands` as the settings say."""

    def __init__(self, settings: ProvisionerSettings, clock: Clock) -> None:
        self._keys = Keyring(settings.command_keys)
        self._trust = settings.command_signatures or Trust.OFF
        self._clock = clock
        self.read = sealed(self._keys, self._trust)
        if self._trust is Trust.OFF:
            LOG.warning("commands are believed unsigned: HOSTLER_COMMAND_KEYS names no keys")

    async def on_bury(self, session: AsyncSession, record: Record) -> Message[Body] | None:
        """What the audit is told of a dead letter that was not trusted.

        Of any other the operation is kept: the gateway has accepted it.
        """
        reason = self._keys.why_not(record) if self._trust is Trust.REQUIRE else ""
        if not reason:
            return await unheard.keep(session, record, self._clock())
        place = f"{record.topic}/{record.partition}@{record.offset}"
        return Message(
            id=new_id(),
            source="hostler/provisioner",
            time=self._clock(),
            subject=place,
            actor="hostler/provisioner",
            data=_refused(record, reason),
        )


def _refused(record: Record, reason: str) -> CommandRefused:
    def claimed(header: str) -> str:
        return record.headers.get(header, "")[:_LONGEST]

    return CommandRefused(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason,
        claimed_type=claimed("ce_type"),
        claimed_id=claimed("ce_id"),
        claimed_actor=claimed("ce_actor"),
        claimed_project=claimed("ce_projectid"),
        claimed_subject=record.key[:_LONGEST],
    )
