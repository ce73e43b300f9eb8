"""The cloud's clock: the `Date` of its answers, or ours set right by what Keystone's tokens say.

Nova behind a bare uWSGI sends no `Date`. There our own clock serves, moved by the difference that
the first token's `issued_at` shows if it is more than the noise of a token with whole seconds.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_NOISE = timedelta(seconds=2)


class Clock:
    """Reads the time of one cloud. Assigning the difference is atomic, so threads may share it."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def learn(self, cloud: datetime, ours: datetime) -> None:
        """Remember that the cloud's clock showed `cloud` when ours showed `ours`."""
        ahead = cloud - ours
        self._ahead = ahead if abs(ahead) > _NOISE else timedelta(0)

    def read(self, date: str | None) -> datetime:
        """The cloud's time now (UTC), from the `Date` of an answer that has just come, if any."""
        return http_date(date) or datetime.now(UTC) + self._ahead


def http_date(text: str | None) -> datetime | None:
    """An HTTP date as a UTC time; None for anything else."""
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
