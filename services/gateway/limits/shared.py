"""Rates counted in Redis: the scripts of `limits`, all that a request asks for in one round trip.

The library sends each script by itself, which costs a gateway several times as much.
"""

from collections.abc import Sequence
from typing import Any, cast

from limits.aio.storage.redis.bridge import RedisBridge
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from services.gateway.limits.policies import Counted, Window

_CONNECTIONS = 32


class Shared:
    """Sliding windows that all gateways count in."""

    def __init__(self, url: str, patience: float) -> None:
        # Requests wait for a connection, for a while; redis-py's other pool would fail them.
        self._pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=_CONNECTIONS,
            timeout=patience,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis(connection_pool=self._pool)
        self._take = self._redis.register_script(RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW)
        self._look = self._redis.register_script(RedisBridge.SCRIPT_SLIDING_WINDOW)

    async def ask(
        self, taken: Sequence[Counted], looked: Sequence[Counted]
    ) -> tuple[list[bool], list[Window]]:
        """Count one request against each of `taken`, then look at each of `looked`.

        An OSError says that Redis does not answer.
        """
        try:
            answers = await self._asked(taken, looked)
        except RedisError as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        return [bool(each) for each in answers[: len(taken)]], [
            _window(each) for each in answers[len(taken) :]
        ]

    async def ping(self) -> None:
        """Raise unless Redis answers."""
        await cast("Any", self._redis).ping()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.aclose()

    async def _asked(self, taken: Sequence[Counted], looked: Sequence[Counted]) -> list[Any]:
        try:
            return await self._run(taken, looked)
        except NoScriptError:  # a Redis that was started anew has forgotten them
            for script in (self._take, self._look):
                await self._redis.script_load(cast("str", script.script))
            return await self._run(taken, looked)

    async def _run(self, taken: Sequence[Counted], looked: Sequence[Counted]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as line:
            for each in taken:
                item = each.policy.item
                arguments = (item.amount, item.get_expiry(), 1)
                line.evalsha(self._take.sha, 2, *_keys(each), *arguments)
            for each in looked:
                line.evalsha(self._look.sha, 2, *_keys(each), each.policy.item.get_expiry())
            return await line.execute()


def _keys(counted: Counted) -> tuple[str, str]:
    """The windows before and now; the braces keep both on one node of a cluster."""
    now = f"hostler:{{{counted.key}}}"
    return f"{now}/before", now


def _window(answer: Sequence[Any]) -> Window:
    before, before_ms, now, now_ms = answer
    return (
        int(before or 0),
        max(0, int(before_ms or 0)) / 1000,
        int(now or 0),
        max(0, int(now_ms or 0)) / 1000,
    )
