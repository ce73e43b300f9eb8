"""Where rates are counted: in Redis for all gateways, or in this process while there is none."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from chassis.leases import Clock
from services.gateway.limits.memory import Memory
from services.gateway.limits.policies import Counted, Policy, Window

if TYPE_CHECKING:
    from services.gateway.limits.shared import Shared

LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 0.25
REST_SECONDS = 5.0
SHARED = Gauge("hostler_rate_limits_shared", "1 while rates are counted in Redis.")
LOST = Counter("hostler_rate_limits_redis_lost", "How often Redis went away.")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a rate, and in how many seconds some of it comes back."""

    policy: Policy
    left: int
    seconds: float


class Store:
    """Counts; while Redis does not answer, each gateway counts by itself, and none waits for it.

    What was counted meanwhile is not carried over: for that while a caller has each gateway's rate
    to itself. One request in `REST_SECONDS` asks whether Redis is back.
    """

    def __init__(self, redis_url: str | None, clock: Clock) -> None:
        self._memory = Memory(clock)
        self._redis = _shared(redis_url) if redis_url else None
        self._away = False
        self._ask_at = 0.0
        SHARED.set(self._redis is not None)

    @property
    def is_shared(self) -> bool:
        """Whether all gateways count together now."""
        return self._redis is not None and not self._away

    async def take(
        self, taken: Sequence[Counted], looked: Sequence[Counted] = ()
    ) -> tuple[list[bool], list[Standing]]:
        """Count one request against each of `taken` that is not used up: which of them were not.

        And what is left of each of `looked` then.
        """
        took, windows = await self._ask(taken, looked)
        pairs = zip(looked, windows, strict=True)
        return took, [_standing(each.policy, window) for each, window in pairs]

    async def probe(self) -> str:
        """Where rates are counted; raises while Redis is set and does not answer."""
        if self._redis is None:
            return "in this process"
        async with asyncio.timeout(1):
            await self._redis.ping()
        return "redis"

    async def keep(self) -> None:
        """Hold Redis until cancelled, then let go of it."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of Redis."""
        if self._redis is not None:
            await self._redis.close()

    async def _ask(
        self, taken: Sequence[Counted], looked: Sequence[Counted]
    ) -> tuple[list[bool], list[Window]]:
        if self._redis is not None and self._may_ask():
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    answers = await self._redis.ask(taken, looked)
            except OSError as error:
                self._lose(error)
            else:
                self._find()
                return answers
        return await self._memory.ask(taken, looked)

    def _may_ask(self) -> bool:
        now = time.monotonic()
        if self._away and now < self._ask_at:
            return False
        if self._away:
            self._ask_at = now + REST_SECONDS
        return True

    def _lose(self, error: Exception) -> None:
        self._ask_at = time.monotonic() + REST_SECONDS
        if not self._away:
            self._away = True
            SHARED.set(0)
            LOST.inc()
            said = str(error) or type(error).__name__
            LOG.warning("rates are counted by each gateway: Redis is out: %s", said)

    def _find(self) -> None:
        if self._away:
            self._away = False
            SHARED.set(1)
            LOG.info("rates are counted in Redis again")


def _shared(url: str) -> "Shared":
    # Without Redis its client would be six megabytes for nothing.
    from services.gateway.limits.shared import Shared  # noqa: PLC0415

    return Shared(url, PATIENCE_SECONDS)


def _standing(policy: Policy, window: Window) -> Standing:
    """The window before counts by the share of it that a sliding one still covers."""
    before, before_seconds, now, now_seconds = window
    expiry = policy.item.get_expiry()
    used = int(before * before_seconds / expiry) + now
    back = min(
        before_seconds % (expiry / before) if before else inf,
        now_seconds % expiry if now else inf,
    )
    return Standing(policy, max(policy.item.amount - used, 0), back if back < inf else 0.0)
