"""Who may do what on Kafka: derived from `contracts/topics.py`, so that it cannot say anything else.

A principal is a user of SASL/SCRAM or the name in a certificate (mTLS); both are the same here.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from chassis.consumer import group
from contracts.topics import FOLLOWED, RETOLD, SERVICES, TOPICS, Topic

Resource = Literal["topic", "group", "cluster"]
CLUSTER = "kafka-cluster"
ADMIN = "hostler-admin"
"""A super user of the brokers: it makes users and grants, and nothing else runs as it."""
BROKER = "hostler-broker"
TOPICS_PRINCIPAL = "hostler-topics"
"""As whom `deploy.topics` runs."""
REBUILD = "hostler-rebuild"
"""As whom `services.gateway.rebuild --from kafka` runs: it reads what its service does not."""
_WATCHED = {"gateway": SERVICES}
"""Whose groups a service asks about: the gateway, how far each has got with the canary."""


@dataclass(frozen=True, order=True)
class Grant:
    """One operation that a principal may do; `prefixed`: on all whose names begin so."""

    principal: str
    resource: Resource
    name: str
    operation: str
    prefixed: bool = False


def principal_of(service: str) -> str:
    """The user that a service is to Kafka."""
    return f"hostler-{service}"


def principals(followers: Iterable[str] = ()) -> tuple[str, ...]:
    """Everybody who has grants."""
    return (*map(principal_of, SERVICES), TOPICS_PRINCIPAL, REBUILD, *followers)


def require_follower(name: str) -> str:
    """The same name; ValueError if its groups could be taken for Hostler's own."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,62}", name) or name.startswith("hostler"):
        raise ValueError(f"{name!r}: small letters, digits and -, and not hostler in front")
    return name


def grants(followers: Sequence[str] = ()) -> list[Grant]:
    """All there are. `followers`: other systems' users, who read what happens to VMs."""
    found = [grant for service in SERVICES for grant in _of_service(service)]
    found += [_reads(REBUILD, topic) for topic in RETOLD]
    found += [grant for topic in TOPICS for grant in _of_topics(topic)]
    found.append(Grant(TOPICS_PRINCIPAL, "cluster", CLUSTER, "describe"))
    for follower in followers:
        found += [_reads(follower, topic) for topic in FOLLOWED]
        found += _groups_of_follower(follower)
    return sorted(set(found))


def _of_service(service: str) -> list[Grant]:
    me = principal_of(service)
    said = [Grant(me, "topic", each.name, "write") for each in TOPICS if service in each.producers]
    heard = [_reads(me, each) for each in TOPICS if service in each.consumers]
    watched = [Grant(me, "group", group(each), "describe") for each in _WATCHED.get(service, ())]
    joined = [Grant(me, "group", each, "read") for each in groups(service)]
    return [*said, *heard, *joined, *watched]


def groups(service: str) -> list[str]:
    """The consumer groups that a service's replicas are members of, and no others."""
    return [group(service), *(group(service, each) for each in TOPICS if service in each.apart)]


def _groups_of_follower(name: str) -> list[Grant]:
    """The group of its name, and whatever it likes below that."""
    below = Grant(name, "group", f"{name}.", "read", prefixed=True)
    return [Grant(name, "group", name, "read"), below]


def _reads(principal: str, topic: Topic) -> Grant:
    return Grant(principal, "topic", topic.name, "read")


def _of_topics(topic: Topic) -> list[Grant]:
    """What brings topics in line with the contracts; not what deletes or reads them."""
    operations = ("create", "alter", "alter_configs", "describe", "describe_configs")
    return [Grant(TOPICS_PRINCIPAL, "topic", topic.name, each) for each in operations]


def table(found: Iterable[Grant]) -> str:
    """The grants for people, a line each."""
    rows = [("principal", "resource", "name", "may")]
    rows += [(g.principal, g.resource, f"{g.name}{'*' * g.prefixed}", g.operation) for g in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
