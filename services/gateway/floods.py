"""How many refusals of one origin are told one by one, and what becomes of those beyond.

Per minute and origin some are told as they are, and some of all origins together; what is beyond is
counted and told as one message when the minute is over. So a flood shows, and fills nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=1)
EACH = 20
"""Refusals of one origin that are told one by one in a window."""
ALL = 600
"""The same of all origins that come to one gateway."""
ORIGINS = 1000
"""Origins that are told apart in a window; those beyond are counted as one."""


@dataclass(frozen=True)
class Whom:
    """Who was refused: in a project, by a credential, from an address (an IPv6 /64 is one)."""

    project_id: str
    actor: str
    credential: str
    address: str


OTHERS = Whom("", "anonymous", "", "many")


@dataclass
class Counted:
    """What was refused to one origin within a window."""

    since: datetime
    until: datetime
    told: int = 0
    codes: Counter[str] = field(default_factory=Counter[str])
    """Those that were only counted."""

    def count(self, code: str, at: datetime) -> None:
        """One that is not told by itself."""
        if not self.codes:
            self.since = at
        self.until = at
        self.codes[code] += 1


class Floods:
    """Of one gateway. What a killed one had counted and not told yet is lost."""

    def __init__(self) -> None:
        self._known: dict[Whom, Counted] = {}
        self._begun: datetime | None = None
        self._told = 0

    def admits(self, whom: Whom, code: str, now: datetime) -> bool:
        """Whether a refusal is told by itself; else it is counted."""
        if self._begun is None or now - self._begun >= WINDOW:
            self._begun, self._told = now, 0
            self._known = {who: each for who, each in self._known.items() if each.codes}
            for each in self._known.values():
                each.told = 0
        mine = self._of(whom, now)
        if mine.told >= EACH or self._told >= ALL:
            mine.count(code, now)
            return False
        mine.told += 1
        self._told += 1
        return True

    def count(self, whom: Whom, code: str, now: datetime) -> None:
        """One that was to be told, and could not be."""
        self._of(whom, now).count(code, now)

    def over(self, now: datetime, *, all_of_them: bool = False) -> list[tuple[Whom, Counted]]:
        """What was counted in a window that is over, or in any; it stays until it is `settled`."""
        return [
            (whom, each)
            for whom, each in self._known.items()
            if each.codes and (all_of_them or now - each.since >= WINDOW)
        ]

    def settled(self, told: Sequence[tuple[Whom, Counter[str]]]) -> None:
        """These counts are told now; what came meanwhile is still to be."""
        for whom, codes in told:
            self._known[whom].codes -= codes

    def _of(self, whom: Whom, now: datetime) -> Counted:
        if whom not in self._known and len(self._known) >= ORIGINS:
            whom = OTHERS
        return self._known.setdefault(whom, Counted(now, now))
