"""Rates as settings write them, and as the draft for RateLimit header fields names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from limits import RateLimitItem, parse_many
from pydantic import AfterValidator

from services.gateway.limits.classes import RouteClass, Subject


def _require_rates(text: str) -> str:
    try:
        items = parse_many(text) if text else []
    except ValueError as error:
        raise ValueError("write it like 20/second; 600/minute, or leave it empty") from error
    if not all(item.amount for item in items):
        raise ValueError("a rate of 0 would refuse everything")
    return text


Rates = Annotated[str, AfterValidator(_require_rates)]
"""`20/second; 600/minute`: bursts and what is sustained, as `limits.parse_many` reads it; empty: none."""
RateLimits = dict[RouteClass, dict[Subject, Rates]]

DEFAULTS: RateLimits = {
    RouteClass.READ: {
        Subject.CALLER: "5000/second; 240000/minute",
        Subject.PROJECT: "480000/minute",
        Subject.ADDRESS: "480000/minute",
    },
    RouteClass.WRITE: {
        Subject.CALLER: "2000/second; 90000/minute",
        Subject.PROJECT: "180000/minute",
        Subject.ADDRESS: "180000/minute",
    },
    RouteClass.SENSITIVE: {
        Subject.CALLER: "20/second; 120/minute",
        Subject.PROJECT: "600/minute",
        Subject.ADDRESS: "20/second; 120/minute",
    },
    RouteClass.STREAM: {
        Subject.CALLER: "500/second; 6000/minute",
        Subject.PROJECT: "12000/minute",
        Subject.ADDRESS: "12000/minute",
    },
}


@dataclass(frozen=True, slots=True)
class Policy:
    """One rate of one subject in one class of routes."""

    name: str
    item: RateLimitItem

    @property
    def told(self) -> str:
        """As RateLimit-Policy says it."""
        return f'"{self.name}";q={self.item.amount};w={self.item.get_expiry()}'


@dataclass(frozen=True, slots=True)
class Counted:
    """A rate of somebody."""

    policy: Policy
    who: str

    @property
    def key(self) -> str:
        """What it is counted under."""
        return f"{self.policy.name}/{self.who}"


Window = tuple[int, float, int, float]
"""The count of the window before and the seconds that it still matters, the count of this one and
its seconds with those of the next: as `limits` tells them."""
Policies = Mapping[tuple[RouteClass, Subject], tuple[Policy, ...]]


def policies(given: RateLimits) -> Policies:
    """The rates of each class and subject: what is given, else the default."""
    return {
        (kind, subject): _read(kind, subject, given.get(kind, {}).get(subject, rates))
        for kind, subjects in DEFAULTS.items()
        for subject, rates in subjects.items()
    }


def _read(kind: RouteClass, subject: Subject, rates: str) -> tuple[Policy, ...]:
    items = parse_many(rates) if rates else []
    return tuple(Policy(f"{kind}-{subject}-{item.get_expiry()}s", item) for item in items)
