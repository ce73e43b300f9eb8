"""One account for asyncio: calls go out in threads when the governor lets them, and are observed."""

from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from chassis.errors import HostlerError
from drivers.governor import Governor, Lane, Permit
from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.connection import Connection
from drivers.openstack.settings import OpenStackSettings
from drivers.openstack.telemetry import observing
from drivers.threads import in_thread

T = TypeVar("T")


class Cloud:
    """Asks one account's services."""

    def __init__(self, account: str, settings: OpenStackSettings) -> None:
        self.account = account
        self.settings = settings
        self._connection = Connection(account, settings)
        self._governor = Governor(account, settings.limits)

    async def ask(self, call: Call, *, accept: Collection[int] = ()) -> Answer:
        """The answer if it is a success or its status is in `accept`; else Retry or Terminal.

        Cancelled, it returns at once; what was sent may take effect all the same.
        """
        async with self._governor.permit(call.lane) as permit:
            answer = await self._sent(call, permit)
        if answer.ok or answer.status in accept:
            return answer
        raise errors.refusal(call, answer)

    async def project(self) -> str:
        """The Keystone project's id; Retry or Terminal where there is no login."""
        async with self._governor.permit(Lane.SWEEP) as permit:
            return await _heard(permit, self._connection.project)

    def rests_until(self) -> datetime | None:
        """Until when calls would fail at once; None if they would not."""
        return self._governor.rests_until()

    async def close(self) -> None:
        """Let go of the connections; threads that idle end by themselves."""
        await in_thread(self._connection.close)

    async def _sent(self, call: Call, permit: Permit) -> Answer:
        with observing(self.account, call) as observer:
            answer = await _heard(permit, partial(self._connection.send, call))
            observer.answered(answer)
        _tell(permit, answer)
        return answer


async def _heard(permit: Permit, ask: Callable[[], T]) -> T:
    """What asking in a thread ends with; the governor learns if that is silence."""
    try:
        return await in_thread(ask)
    except HostlerError as error:
        if errors.is_silence(error):
            permit.failed()
        raise


def _tell(permit: Permit, answer: Answer) -> None:
    """What the answer says of the cloud: that it is there, broken, or wants to be left alone."""
    after = errors.retry_after(answer)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or (
        after is not None
        and answer.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    ):
        permit.told_to_wait(after)
    elif errors.is_broken(answer.status):
        permit.failed()
    else:
        permit.answered()
