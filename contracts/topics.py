"""The topics on Kafka: what each carries, who says it, who hears it and how long it is kept."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import UnionType
from typing import Any, get_args

from contracts.access.events import AccessEvent
from contracts.access.federation import FederationEvent
from contracts.access.identity import IdentityEvent
from contracts.access.permission import PermissionEvent
from contracts.canary import CanaryEvent
from contracts.catalog.events import CatalogEvent
from contracts.dead_letter import DeadLetter, Replay
from contracts.inventory.events import InventoryEvent
from contracts.message import Body
from contracts.operation.commands import OperationCommand
from contracts.operation.events import OperationEvent
from contracts.trust.events import TrustEvent
from contracts.vm.commands import VmCommand
from contracts.vm.events import State, VmEvent

SERVICES = ("gateway", "provisioner", "sync", "audit")


@dataclass(frozen=True)
class Topic:
    """One topic. Names carry no version: message types do."""

    name: str
    says: str
    carries: tuple[type[Body], ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int
    retention: timedelta | None
    compacted: bool = False
    apart: tuple[str, ...] = ()
    """Consumers that take it in a group of its own: it does not wait for their other topics."""


def _leaves(*unions: Any) -> tuple[type[Body], ...]:
    """The classes of unions, annotated unions and single classes, in order."""
    found: list[type[Body]] = []
    for union in unions:
        if isinstance(union, type) and issubclass(union, Body):
            found.append(union)
        else:
            inner = union if isinstance(union, UnionType) else get_args(union)[0]
            found.extend(_leaves(*get_args(inner)))
    return tuple(found)


VM_COMMANDS = Topic(
    name="vm.commands",
    says="What was asked of VMs, in order per VM.",
    carries=_leaves(VmCommand, OperationCommand),
    producers=("gateway",),
    consumers=("provisioner", "audit"),
    partitions=12,
    retention=timedelta(days=7),
    apart=("provisioner",),
)
VM_EVENTS = Topic(
    name="vm.events",
    says="What happened to VMs and to the operations on them, in order per VM.",
    carries=_leaves(VmEvent, OperationEvent),
    producers=("gateway", "provisioner", "sync"),
    consumers=("gateway", "provisioner", "sync", "audit"),
    partitions=12,
    retention=timedelta(days=30),
)
VM_STATE = Topic(
    name="vm.state",
    says="The latest snapshot of every VM.",
    carries=_leaves(State),
    producers=("sync",),
    consumers=(),
    partitions=12,
    retention=None,
    compacted=True,
)
CLOUD_CATALOG = Topic(
    name="cloud.catalog",
    says="What each account offers: flavors, images, networks, key pairs.",
    carries=_leaves(CatalogEvent),
    producers=("sync",),
    consumers=("gateway",),
    partitions=3,
    retention=None,
    compacted=True,
)
CLOUD_INVENTORY = Topic(
    name="cloud.inventory",
    says="What accounts hold that is no VM's: orphans, and servers that Hostler does not manage.",
    carries=_leaves(InventoryEvent),
    producers=("sync", "provisioner"),
    consumers=("gateway", "provisioner", "audit"),
    partitions=3,
    retention=None,
    compacted=True,
)
AUDIT_EVENTS = Topic(
    name="audit.events",
    says="Who did, or was refused, what at the door; commands that were not the gateway's; settings.",
    carries=_leaves(AccessEvent, IdentityEvent, FederationEvent, PermissionEvent, TrustEvent),
    producers=SERVICES,
    consumers=("audit",),
    partitions=3,
    retention=timedelta(days=30),
)
DEAD_LETTERS = Topic(
    name="dead.letters",
    says="Records that a consumer could not read or handle, whole, with the reason.",
    carries=_leaves(DeadLetter),
    producers=SERVICES,
    consumers=("gateway", "audit"),
    partitions=3,
    retention=timedelta(days=90),
)
REPLAYS = Topic(
    name="dead.replays",
    says="Dead letters that are to be tried again, each by the one consumer that gave up on it.",
    carries=_leaves(Replay),
    producers=("gateway",),
    consumers=SERVICES,
    partitions=3,
    retention=timedelta(days=7),
)
CANARY = Topic(
    name="canary",
    says="Proof that the way from outbox to consumer lives: one goes in, each service answers.",
    carries=_leaves(CanaryEvent),
    producers=SERVICES,
    consumers=SERVICES,
    partitions=1,
    retention=timedelta(hours=1),
)

TOPICS = (
    VM_COMMANDS,
    VM_EVENTS,
    VM_STATE,
    CLOUD_CATALOG,
    CLOUD_INVENTORY,
    AUDIT_EVENTS,
    DEAD_LETTERS,
    REPLAYS,
    CANARY,
)

RETOLD = (VM_COMMANDS, VM_EVENTS, VM_STATE, CLOUD_CATALOG, CLOUD_INVENTORY)
"""What the gateway's read model is told anew from, in this order: what was asked before what
happened, and snapshots last; then what accounts offer and hold."""
FOLLOWED = (VM_EVENTS, VM_STATE)
"""What other systems read of VMs."""


@cache
def types() -> dict[str, type[Body]]:
    """Every message type by its wire name."""
    return {body.wire_name(): body for topic in TOPICS for body in topic.carries}


@cache
def topic_of(body: type[Body]) -> Topic:
    """The one topic that carries `body`; KeyError if none does."""
    return {each: topic for topic in TOPICS for each in topic.carries}[body]
