"""Dead letters: what a consumer gives up on, how much of it it may, and a letter's way back."""

import base64
import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid5

from pydantic import ValidationError

from chassis.leases import Clock
from chassis.settings import Settings
from chassis.wire import Record, summary
from contracts.dead_letter import DeadLetter

KEPT_BYTES = 700_000
"""The longest value that a letter keeps: as base64, with its headers, it fits Kafka's 1 MiB."""
_SPANS = 20
_BURIALS = UUID("6f1b9b1e-0c55-4d0a-9a3e-3f0c7f6f5d21")


def dead_letter(record: Record, consumer: str, reason: str) -> DeadLetter:
    """The record as it is kept among the dead letters."""
    value, size = record.value, len(record.value)
    if size > KEPT_BYTES:
        value, reason = b"", f"{reason[:1000]} (not kept: the value of {size} bytes is too long)"
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        consumer=consumer,
        reason=reason[:2000],
        key=record.key,
        headers=record.headers,
        value_base64=base64.b64encode(value).decode(),
    )


def burial_id(record: Record, consumer: str, replay: UUID | None = None) -> UUID:
    """The same for the same record, given up on by the same consumer.

    So one that is delivered again, as its offset was not committed, is buried once. One that
    fails when it is given back is, hence `replay`. What a record holds counts, too: a topic that
    was made anew begins with the same offsets.
    """
    holds = sha256(record.value).hexdigest()
    place = (consumer, record.topic, record.partition, record.offset, record.key)
    said = [*place, record.headers, holds, str(replay or "")]
    return uuid5(_BURIALS, json.dumps(said, sort_keys=True))


def buried(letter: DeadLetter) -> Record:
    """The record that a letter keeps; ValueError if its value is not base64."""
    return Record(
        topic=letter.topic,
        key=letter.key or "",
        headers=letter.headers,
        value=base64.b64decode(letter.value_base64, validate=True),
        partition=letter.partition,
        offset=letter.offset,
    )


def reason_of(error: Exception) -> str:
    """An error as a letter and /readyz tell it: without the values that a model refused."""
    said = summary(error) if isinstance(error, ValidationError) else str(error)
    return f"{type(error).__name__}: {said}"


@dataclass
class _Span:
    """What was taken in a part of the window."""

    begins: datetime
    taken: int = 0
    dead: int = 0


class Limit:
    """How many of a consumer's records may become dead letters: few always, many never.

    When as many as `count` did within the window, and they are `share` of all records or more, it
    is not the records that are wrong. Nothing more is buried then until a record can be handled.
    """

    def __init__(self, count: int, share: float, window: timedelta, clock: Clock) -> None:
        self.count = count
        self.share = share
        self.window = window
        self.clock = clock
        self.stopped = ""
        """Why nothing is buried any more; empty: it goes on."""
        self._spans: deque[_Span] = deque()

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> "Limit":
        """The limit that the settings name."""
        return cls(
            settings.dead_letters_count,
            settings.dead_letters_share,
            settings.dead_letters_window,
            clock,
        )

    def allows(self, dead: int, of: int) -> bool:
        """Whether `dead` more may be buried out of `of` more records."""
        if self.stopped:
            return False
        self._slide()
        dead += sum(span.dead for span in self._spans)
        taken = of + sum(span.taken for span in self._spans)
        return dead <= self.count or dead < self.share * taken

    def note(self, taken: int, dead: int) -> None:
        """Count records that are done with, `dead` of them buried."""
        self._slide()
        now = self.clock()
        if not self._spans or now >= self._spans[-1].begins + self.window / _SPANS:
            self._spans.append(_Span(now))
        self._spans[-1].taken += taken
        self._spans[-1].dead += dead

    def stop(self, reason: str) -> None:
        """Bury nothing from now on."""
        self.stopped = reason

    def go_on(self) -> None:
        """A record could be handled: what was wrong is over, and so is its count."""
        if self.stopped:
            self.stopped = ""
            self._spans.clear()

    def _slide(self) -> None:
        oldest = self.clock() - self.window
        while self._spans and self._spans[0].begins < oldest:
            self._spans.popleft()
