"""Where rates are counted: in Redis for all gateways, or in this process while there is none."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from limits.aio.storage import RedisStorage
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from prometheus_client import Counter, Gauge
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chassis.leases import Clock
from contracts.message import utc_now
from services.gateway.limits.memory import Memory
from services.gateway.limits.policies import Policy

LOG = logging.getLogger(__name__)
T = TypeVar("T")
PATIENCE_SECONDS = 0.25
REST_SECONDS = 5.0
_CONNECTIONS = 32
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
        self._memory = SlidingWindowCounterRateLimiter(Memory(clock))
        self._pool = _pool(redis_url) if redis_url else None
        self._redis = _redis(redis_url, self._pool) if redis_url and self._pool else None
        self._away = False
        self._ask_at = 0.0
        SHARED.set(self._redis is not None)

    @property
    def is_shared(self) -> bool:
        """Whether all gateways count together now."""
        return self._redis is not None and not self._away

    async def take(self, wanted: Sequence[tuple[Policy, str]]) -> Sequence[bool]:
        """Count one request against each rate that is not used up; which of them were not."""
        return await self._ask(
            [lambda by, p=p, who=who: by.hit(p.item, p.name, who) for p, who in wanted]
        )

    async def standings(self, wanted: Sequence[tuple[Policy, str]]) -> Sequence[Standing]:
        """What is left of each rate."""
        return await self._ask(
            [lambda by, p=p, who=who: _standing(by, p, who) for p, who in wanted]
        )

    async def probe(self) -> str:
        """Where rates are counted; raises while Redis is set and does not answer."""
        if self._redis is None:
            return "in this process"
        async with asyncio.timeout(1):
            if not await self._redis.storage.check():
                raise ConnectionError("Redis does not answer: each gateway counts by itself")
        return "redis"

    async def keep(self) -> None:
        """Hold Redis until cancelled, then let go of it."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _ask(self, questions: "Sequence[Callable[[RateLimiter], Awaitable[T]]]") -> list[T]:
        if self._redis is not None and self._may_ask():
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    answers = await asyncio.gather(*[ask(self._redis) for ask in questions])
            except (RedisError, OSError, TimeoutError) as error:
                self._lose(error)
            else:
                self._find()
                return answers
        return [await ask(self._memory) for ask in questions]

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
            LOG.warning("rates are counted by each gateway: Redis is out: %s", _said(error))

    def _find(self) -> None:
        if self._away:
            self._away = False
            SHARED.set(1)
            LOG.info("rates are counted in Redis again")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _standing(by: RateLimiter, policy: Policy, who: str) -> Standing:
    stats = await by.get_window_stats(policy.item, policy.name, who)
    # The library tells a moment by the machine's clock.
    return Standing(policy, stats.remaining, max(stats.reset_time - utc_now().timestamp(), 0.0))


def _pool(url: str) -> BlockingConnectionPool:
    """Requests wait for a connection, for a while; redis-py's other pool would fail them."""
    return BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - **kwargs
        url,
        max_connections=_CONNECTIONS,
        timeout=PATIENCE_SECONDS,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _redis(url: str, pool: BlockingConnectionPool) -> RateLimiter:
    storage = RedisStorage(
        f"async+{url}",
        implementation="redispy",
        key_prefix="hostler",
        connection_pool=pool,  # pyright: ignore[reportArgumentType] - its docstring names it
    )
    return SlidingWindowCounterRateLimiter(storage)
