"""What the API answers: the shapes of VMs, operations, events, keys and the catalog's items."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.inventory.events import ResourceKind
from contracts.operation.states import OperationError, OperationState
from contracts.vm.events import DriftChoice
from contracts.vm.states import Address, Fault, Transition, VmSnapshot, VmState

_VM = UUID("019b7e1a-6f3c-7b11-9d2a-52b9f1c0a001")
_OPERATION = UUID("019b7e1a-6f3c-7b11-9d2a-52b9f1c0b002")
_AT = "2026-11-02T09:30:00Z"


class Resource(BaseModel):
    """Shared by all."""

    model_config = ConfigDict(frozen=True)


class OperationLinks(Resource):
    """Where an operation and what belongs to it are."""

    self: str
    vm: str
    cancel: str | None = Field(
        default=None, description="POST here; null where it cannot be cancelled."
    )
    retry: str | None = Field(default=None, description="POST here; null once it has ended.")
    abandon: str | None = Field(default=None, description="POST here; null once it has ended.")


class Stuck(Resource):
    """An operation takes longer than it should, and people should know."""

    since: datetime
    reason: str = Field(
        description="What it waits for: `quota`; the code of its last error; `waiting_its_turn` "
        "behind another operation on the VM; else `slow`."
    )


class Step(Resource):
    """Something that happened on an operation's way."""

    name: str = Field(
        description="accepted, started, issued, retrying, succeeded, failed, cancelled; "
        "cancel_asked, retry_asked, abandon_asked"
    )
    at: datetime
    detail: str | None = None


class Operation(Resource):
    """One accepted command on its way to its outcome."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": str(_OPERATION),
                    "vm_id": str(_VM),
                    "project_id": "demo",
                    "command": "vm.create.v1",
                    "actor": "key:ci",
                    "request_id": "req-5b1f3ba4-6c63-4f23-8f83-5d5f0d1a2c3e",
                    "state": "succeeded",
                    "created_at": _AT,
                    "deadline_at": "2026-11-02T09:45:00Z",
                    "started_at": _AT,
                    "ended_at": "2026-11-02T09:30:08Z",
                    "attempts": 1,
                    "steps": [{"name": "accepted", "at": _AT, "detail": None}],
                    "error": None,
                    "blocked_on": None,
                    "waits_for": None,
                    "position": 0,
                    "stuck": None,
                    "links": {
                        "self": f"/v1/operations/{_OPERATION}",
                        "vm": f"/v1/vms/{_VM}",
                        "cancel": None,
                        "retry": None,
                        "abandon": None,
                    },
                }
            ]
        },
    )

    id: UUID
    vm_id: UUID
    project_id: str
    command: str = Field(description="The wire name of the command.")
    actor: str = Field(description="Who asked.")
    request_id: str = Field(description="The HTTP request that asked.")
    state: OperationState
    created_at: datetime
    deadline_at: datetime = Field(description="It has ended by then, one way or another.")
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int
    steps: list[Step]
    error: OperationError | None = Field(
        default=None, description="Why it failed, or why its last attempt did not get through."
    )
    blocked_on: str | None = Field(
        default=None,
        description="`quota`: room has to be made first. `dead_letter`: the command could not be "
        "read, and somebody has to replay it.",
    )
    waits_for: UUID | None = Field(
        default=None, description="The operation on the same VM whose turn is before this one's."
    )
    position: int = Field(default=0, description="How many operations on the VM come before it.")
    stuck: Stuck | None = Field(
        default=None, description="Null while it takes no longer than a healthy cloud needs."
    )
    links: OperationLinks


class UnderWay(Resource):
    """The operation that a VM is in the middle of."""

    id: UUID
    command: str
    link: str


class ImageReference(Resource):
    """The image that a VM was made of."""

    id: str
    name: str | None = Field(default=None, description="Null if the catalog does not hold it.")


Check = Literal["permission", "policy", "references", "precondition", "state", "quota"]


class Verdict(Resource):
    """What one check says of a command."""

    check: Check
    passes: bool | None = Field(description="Null: not known before it is tried.")
    detail: str = ""
    code: ErrorCode | None = Field(default=None, description="The error that it would be.")


class DryRun(Resource):
    """What would become of a command that was not given (`?dry_run=true`)."""

    dry_run: Literal[True] = True
    command: str = Field(description="Its wire name.")
    vm_id: UUID | None = Field(default=None, description="Null for what would make one.")
    would_be_accepted: bool
    verdicts: list[Verdict]
    calls: list[str] = Field(
        description="What the cloud would be asked, in OpenStack's words; none for a command that "
        "would be refused."
    )
    waits_for: UUID | None = Field(default=None, description="The operation that comes before it.")
    position: int = 0


class VmLinks(Resource):
    """Where a VM and what belongs to it are."""

    self: str
    operations: str
    events: str


class Vm(Resource):
    """A virtual machine, as sync last saw it, with what is being done to it."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": str(_VM),
                    "project_id": "demo",
                    "account": "simulator",
                    "name": "web-1",
                    "description": None,
                    "state": "active",
                    "transition": "rebooting",
                    "task": None,
                    "flavor": "m1.small",
                    "image": {"id": "5f2c…", "name": "debian-12"},
                    "addresses": [{"network": "private", "address": "10.0.0.7", "version": 4}],
                    "metadata": {},
                    "tags": ["web"],
                    "key_name": None,
                    "availability_zone": "nova",
                    "security_groups": ["default"],
                    "fault": None,
                    "server_id": "0b0c…",
                    "owner": "user:019b7e1a-6f3c-7b11-9d2a-52b9f1c0c003",
                    "operation": {
                        "id": str(_OPERATION),
                        "command": "vm.reboot.v1",
                        "link": f"/v1/operations/{_OPERATION}",
                    },
                    "created_at": _AT,
                    "updated_at": _AT,
                    "observed_at": _AT,
                    "version": 4,
                    "links": {
                        "self": f"/v1/vms/{_VM}",
                        "operations": f"/v1/operations?vm_id={_VM}",
                        "events": f"/v1/events?vm_id={_VM}",
                    },
                }
            ]
        },
    )

    id: UUID
    project_id: str
    account: str = Field(description="The cloud account that it lives in.")
    name: str
    description: str | None = None
    state: VmState
    transition: Transition | None = Field(
        default=None, description="What the operation under way is doing to it."
    )
    task: str | None = Field(default=None, description="What the cloud says that it is doing.")
    flavor: str | None = Field(default=None, description="The flavor's name.")
    image: ImageReference | None = None
    addresses: list[Address]
    metadata: dict[str, str]
    tags: list[str]
    key_name: str | None = None
    availability_zone: str | None = None
    security_groups: list[str]
    fault: Fault | None = None
    server_id: str | None = Field(default=None, description="The cloud's own id of it.")
    owner: str = Field(
        default="", description="Who made or imported it; empty where that is not known any more."
    )
    operation: UnderWay | None = None
    created_at: datetime
    updated_at: datetime = Field(description="When something of it that is shown here changed.")
    observed_at: datetime | None = Field(
        default=None, description="The cloud's clock when it was last seen."
    )
    version: int = Field(description="Counts what sync saw change.")
    links: VmLinks


class DriftLinks(Resource):
    """Where what belongs to drift is."""

    vm: str
    drift: str = Field(description="POST {field} below it, with a choice.")
    operation: str | None = Field(
        default=None, description="The latest command that is to correct it."
    )


class Drift(Resource):
    """A field of a VM that is not as Hostler left it."""

    vm_id: UUID
    field: str
    wanted: JsonValue = Field(description="As Hostler last left or accepted it.")
    found: JsonValue = Field(description="As the cloud shows it.")
    choice: DriftChoice = Field(
        description="What followed: `correct` by a command; `report` also where none can help."
    )
    since: datetime
    version: int = Field(description="The VM's version in which it was last seen to differ.")
    links: DriftLinks


class VmDrift(Resource):
    """What of a VM drifts, and what was chosen to follow from it."""

    items: list[Drift]
    choices: dict[str, DriftChoice] = Field(
        description="Per field; `*` is all others. Where nothing is chosen the site's default holds.",
        examples=[{"state": "correct", "*": "report"}],
    )


class Orphan(Resource):
    """Something in the cloud that Hostler made and that no VM has any more."""

    kind: ResourceKind
    id: str = Field(description="The cloud's own id of it.")
    account: str
    name: str
    vm_id: UUID | None = Field(default=None, description="Whose it was.")
    reason: Literal["vm_deleted", "second_server", "unknown_vm"]
    proven: bool = Field(description="Its mark proves that Hostler made it.")
    found_at: datetime
    removal_at: datetime | None = Field(
        default=None,
        description="When Hostler removes it at the earliest; null: it stays until somebody does.",
    )
    removing_since: datetime | None = Field(
        default=None, description="When the cloud was first asked to remove it; null: not yet."
    )
    removal_attempts: int | None = Field(
        default=None, description="How often Hostler set about that; null: not yet."
    )


class UnmanagedServer(Resource):
    """A server in the project's cloud account that Hostler does not know."""

    id: str = Field(description="The cloud's own id of it; POST /v1/vms/import takes it in.")
    account: str
    name: str
    state: VmState
    vm: VmSnapshot = Field(description="The server as it was last seen.")
    seen_at: datetime = Field(description="When it was last found to have changed.")


class FollowedEvent(Resource):
    """An event as followers get it."""

    id: UUID
    source: str
    type: str
    time: datetime
    subject: str
    project_id: str
    account: str
    actor: str
    vm_id: UUID
    operation_id: UUID | None = None
    request_id: str = ""
    data: dict[str, Any]


class ApiKey(Resource):
    """An API key, without its secret."""

    id: UUID
    name: str
    role: Role
    prefix: str = Field(description="The key's first characters.")
    created_at: datetime
    created_by: str
    user_id: UUID | None = Field(default=None, description="The user whose it is.")
    service_account_id: UUID | None = Field(
        default=None, description="The service account whose it is; without either the project's."
    )
    scopes: list[str] | None = Field(default=None, description="Null: all that its role covers.")
    allowed_cidrs: list[str] | None = Field(default=None, description="Null: from anywhere.")
    expires_at: datetime | None = None
    last_used_at: datetime | None = Field(default=None, description="To the minute.")
    former_until: datetime | None = Field(
        default=None, description="When the secret before the last rotation ceases to work."
    )
    revoked_at: datetime | None = None


class NewApiKey(ApiKey):
    """A key that was made just now."""

    key: str = Field(description="The key itself. It is shown only here and now.")


class CatalogItem(Resource):
    """What all items of a catalog have."""

    id: str
    name: str


class Flavor(CatalogItem):
    """A size that a VM can have."""

    vcpus: int
    ram_mb: int
    disk_gb: int
    ephemeral_gb: int
    swap_mb: int
    public: bool
    description: str | None = None


class Image(CatalogItem):
    """A disk image that a VM can be made of."""

    status: str = Field(description="VMs are made of `active` ones.")
    visibility: str | None = None
    size_bytes: int | None = None
    min_disk_gb: int
    min_ram_mb: int
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Network(CatalogItem):
    """A network that a VM can join."""

    status: str | None = None
    external: bool
    shared: bool
    mtu: int | None = None
    subnets: list[str] = Field(description="Ids.")


class KeyPair(CatalogItem):
    """A public key that a VM can be given; its id is its name."""

    fingerprint: str | None = None
    kind: str = Field(description="`ssh` or `x509`.")
