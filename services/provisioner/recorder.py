"""Writes down what attempts came to: what is finished while one transaction runs shares the next."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from chassis.database import Database, is_outage
from chassis.leases import Clock
from chassis.rounds import Rounds
from services.provisioner.claims import Claim, held
from services.provisioner.endings import conclude
from services.provisioner.outcome import Outcome, Result

LOG = logging.getLogger(__name__)
OUTAGE_SECONDS = 0.5
BATCH = 100


@dataclass(frozen=True)
class _Finished:
    claim: Claim
    result: Result
    recorded: asyncio.Future[bool]

    def answer(self, recorded: bool | Exception) -> None:
        if self.recorded.done():
            return
        if isinstance(recorded, Exception):
            self.recorded.set_exception(recorded)
        else:
            self.recorded.set_result(recorded)


class Recorder:
    """Records results, each once, as long as its lease is held. `moved` is set when work came up."""

    def __init__(
        self, database: Database, outcome: Outcome, clock: Clock, moved: asyncio.Event
    ) -> None:
        self.database = database
        self.outcome = outcome
        self.clock = clock
        self.moved = moved
        self._rounds = Rounds()
        self._waiting: list[_Finished] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, claim: Claim, result: Result) -> bool:
        """Write it down if the lease is still held; False: another one has it by now."""
        finished = _Finished(claim, result, asyncio.get_running_loop().create_future())
        self._waiting.append(finished)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await finished.recorded

    async def close(self) -> None:
        """Stop, also while the database is out: leases run out by themselves."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            async with self._rounds:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    await self._while_out(batch)
                except Exception as error:  # noqa: BLE001 - told to who waits for it
                    await self._alone(batch, error)

    async def _alone(self, batch: Sequence[_Finished], error: Exception) -> None:
        """What fails together is tried one by one: one that cannot be written harms no other."""
        if len(batch) == 1:
            batch[0].answer(error)
            return
        for finished in batch:
            try:
                await self._while_out([finished])
            except Exception as its:  # noqa: BLE001 - told to who waits for it
                finished.answer(its)

    async def _while_out(self, batch: Sequence[_Finished]) -> None:
        """While the database is out, try on: what the cloud answered is worth more than a look."""
        while True:
            try:
                held_ones = await self._together(batch)
            except Exception as error:
                if not is_outage(error):
                    raise
                LOG.warning("the database is out; %s outcomes wait: %s", len(batch), error)
                await asyncio.sleep(OUTAGE_SECONDS)
            else:
                for finished in batch:
                    finished.answer(finished.claim.token in held_ones)
                return

    async def _together(self, batch: Sequence[_Finished]) -> set[object]:
        now = self.clock()
        async with self.database.session() as session:
            rows = await held(session, [finished.claim for finished in batch])
            tokens: set[object] = set(rows)
            due = 0
            for finished in batch:
                if (row := rows.get(finished.claim.token)) is not None:
                    await self.outcome.record(session, row, finished.claim, finished.result, now)
                    due += row.due_at is not None and row.due_at <= now
            due += await conclude(session, now)
        if due:
            self.moved.set()
        return tokens
