"""One account for asyncio: calls go out in worker threads, so many at a time, and are observed."""

from collections.abc import Collection

from anyio import CapacityLimiter, to_thread

from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.connection import Connection
from drivers.openstack.settings import OpenStackSettings
from drivers.openstack.telemetry import observing


class Cloud:
    """Asks one account's services."""

    def __init__(self, account: str, settings: OpenStackSettings) -> None:
        self.account = account
        self.settings = settings
        self._connection = Connection(account, settings)
        self._limiter = CapacityLimiter(settings.threads)

    async def ask(self, call: Call, *, accept: Collection[int] = ()) -> Answer:
        """The answer if it is a success or its status is in `accept`; else Retry or Terminal.

        A call that changes something is not cancelled on its way: who asked holds the lease until
        it is known how it went.
        """
        with observing(self.account, call) as observer:
            answer = await to_thread.run_sync(
                self._connection.send,
                call,
                limiter=self._limiter,
                abandon_on_cancel=not call.changes,
            )
            observer.answered(answer)
        if answer.ok or answer.status in accept:
            return answer
        raise errors.refusal(call, answer)

    async def close(self) -> None:
        """Let go of the connections; threads that idle end by themselves."""
        await to_thread.run_sync(self._connection.close)
