"""Counting a request against the rates of whom it comes from, and saying so in header fields."""

import math
from collections.abc import Mapping, Sequence

from prometheus_client import Counter

from chassis.problems import Refusal
from contracts.errors import ErrorCode
from services.gateway.limits.classes import RouteClass, Subject
from services.gateway.limits.policies import Counted, Policies, Policy
from services.gateway.limits.store import Standing, Store

REFUSED = Counter("hostler_rate_limited", "Requests refused for their rate.", ["kind", "subject"])
Told = list[tuple[bytes, bytes]]
"""RateLimit-Policy and RateLimit, as they are sent."""


class RateLimited(Refusal):
    """429: a rate is used up; `standing` says which, and when some of it comes back."""

    def __init__(self, standing: Standing) -> None:
        after = max(math.ceil(standing.seconds), 1)
        super().__init__(
            ErrorCode.RATE_LIMITED,
            f"{standing.policy.item} is all that {standing.policy.name} allows.",
            headers={"Retry-After": str(after)},
        )
        # Named as in the draft for RateLimit header fields, problem type quota-exceeded.
        self.members["violated-policies"] = [standing.policy.name]
        self.standing = standing


class Limiter:
    """The rates of this installation."""

    def __init__(self, rates: Policies, store: Store) -> None:
        self.store = store
        self._rates = rates
        self._told = {each: _told(policies) for each, policies in rates.items() if policies}

    async def charge(
        self, kind: RouteClass, whom: Mapping[Subject, str], tell: Subject | None = None
    ) -> Told:
        """Count a request against all of `whom`; RateLimited where a rate is used up.

        What is left to `tell`. What was counted before a refusal stays counted.
        """
        wanted = [Counted(p, who) for each, who in whom.items() for p in self._rates[kind, each]]
        shown = [Counted(p, whom[tell]) for p in self._rates[kind, tell]] if tell else []
        if not wanted:
            return []
        taken, standings = await self.store.take(wanted, shown)
        for each, was_taken in zip(wanted, taken, strict=True):
            if not was_taken:
                REFUSED.labels(kind, each.policy.name.split("-")[1]).inc()
                raise RateLimited((await self.store.take([], [each]))[1][0])
        if tell is None or not standings:
            return []
        return [(b"ratelimit-policy", self._told[kind, tell]), (b"ratelimit", _left(standings))]


def told_of(standing: Standing) -> Told:
    """The same of the one rate that was used up."""
    return [
        (b"ratelimit-policy", _told([standing.policy])),
        (b"ratelimit", _left([standing])),
    ]


def _told(policies: Sequence[Policy]) -> bytes:
    return ", ".join(policy.told for policy in policies).encode()


def _left(standings: Sequence[Standing]) -> bytes:
    return ", ".join(
        f'"{each.policy.name}";r={max(each.left, 0)};t={math.ceil(each.seconds)}'
        for each in standings
    ).encode()
