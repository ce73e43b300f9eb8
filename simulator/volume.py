"""Cinder v3: volumes that can be made, looked at and deleted; nothing attaches them yet."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulator.api import ApiError, Call, Endpoint, Reply, is_object
from simulator.clock import micros

_MEDIA = "application/vnd.openstack.volume+json;version=3"
_BUILD = 0.3  # seconds that a volume is `creating`


@dataclass(slots=True)
class Volume:
    """A volume; `size` in GiB, times in seconds since the epoch."""

    id: str
    name: str
    description: str | None
    size: int
    project_id: str
    user_id: str
    created: float
    metadata: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class VolumeStore:
    """All volumes, by id."""

    volumes: dict[str, Volume] = field(default_factory=dict[str, Volume])
    dirty: bool = False


def _version(call: Call) -> Mapping[str, object]:
    return {
        "id": "v3.0", "status": "CURRENT", "version": "3.71", "min_version": "3.0",
        "updated": "2023-08-31T00:00:00Z",
        "links": [{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
                  {"rel": "self", "href": f"{call.base_url}/v3/"}],
        "media-types": [{"base": "application/json", "type": _MEDIA}],
    }  # fmt: skip


def versions(call: Call) -> Reply:
    """GET / : 300, as Cinder has it."""
    return Reply(300, {"versions": [_version(call)]})


def version(call: Call) -> Reply:
    """GET /v3."""
    return Reply(200, {"versions": [_version(call)]})


def _view(call: Call, found: Volume) -> Mapping[str, object]:
    ready = call.now >= found.created + _BUILD
    return {
        "id": found.id, "status": "available" if ready else "creating", "size": found.size,
        "availability_zone": "nova", "created_at": micros(found.created),
        "updated_at": micros(found.created + _BUILD) if ready else None, "name": found.name,
        "description": found.description, "volume_type": "sparse", "snapshot_id": None,
        "source_volid": None, "metadata": found.metadata,
        "links": [{"rel": "self", "href": f"{call.base_url}/v3/volumes/{found.id}"},
                  {"rel": "bookmark", "href": f"{call.base_url}/volumes/{found.id}"}],
        "user_id": found.user_id, "bootable": "false", "encrypted": False,
        "replication_status": None, "consistencygroup_id": None, "multiattach": False,
        "attachments": [], "os-vol-tenant-attr:tenant_id": found.project_id,
    }  # fmt: skip


def _mine(call: Call) -> list[Volume]:
    found = call.world.volumes.volumes.values()
    return [v for v in found if v.project_id == call.who.project_id]


def list_volumes(call: Call) -> Reply:
    """GET /v3/volumes and /v3/volumes/detail."""
    name = call.param("name")
    found = [_view(call, v) for v in _mine(call) if name in {None, v.name}]
    return Reply(200, {"volumes": found})


def create_volume(call: Call) -> Reply:
    """POST /v3/volumes."""
    body = call.json()
    given = body.get("volume") if is_object(body) else None
    if not is_object(given):
        raise ApiError(400, "'volume' is a required property")
    size = given.get("size")
    if not isinstance(size, int) or size < 1:
        words = f"Invalid input for field/attribute size. Value: {size}. "
        raise ApiError(400, words + f"{size!r} is not of type 'integer'")
    metadata = given.get("metadata")
    made = Volume(
        id=str(uuid.uuid4()),
        name=str(given.get("name") or ""),
        description=None if given.get("description") is None else str(given["description"]),
        size=size,
        project_id=call.who.project_id,
        user_id=call.who.user_id,
        created=call.now,
        metadata={k: str(v) for k, v in metadata.items()} if is_object(metadata) else {},
    )
    call.world.volumes.volumes[made.id] = made
    call.world.volumes.dirty = True
    return Reply(202, {"volume": _view(call, made)})


def _one(call: Call) -> Volume:
    for found in _mine(call):
        if found.id == call.params["id"]:
            return found
    raise ApiError(404, f"Volume {call.params['id']} could not be found.")


def show_volume(call: Call) -> Reply:
    """GET /v3/volumes/{id}."""
    return Reply(200, {"volume": _view(call, _one(call))})


def delete_volume(call: Call) -> Reply:
    """DELETE /v3/volumes/{id}."""
    del call.world.volumes.volumes[_one(call).id]
    call.world.volumes.dirty = True
    return Reply(202)


def limits(call: Call) -> Reply:
    """GET /v3/limits."""
    mine = _mine(call)
    absolute = {
        "maxTotalVolumes": 100_000, "maxTotalSnapshots": 100_000,
        "maxTotalVolumeGigabytes": 1_000_000, "maxTotalBackups": 1000,
        "maxTotalBackupGigabytes": 100_000, "totalVolumesUsed": len(mine),
        "totalGigabytesUsed": sum(v.size for v in mine), "totalSnapshotsUsed": 0,
        "totalBackupsUsed": 0, "totalBackupGigabytesUsed": 0,
    }  # fmt: skip
    return Reply(200, {"limits": {"rate": [], "absolute": absolute}})


def quota(call: Call) -> Reply:
    """GET /v3/os-quota-sets/{id}."""
    found = {"id": call.params["id"], "volumes": 100_000, "per_volume_gigabytes": -1,
             "snapshots": 100_000, "gigabytes": 1_000_000, "backups": 1000,
             "backup_gigabytes": 100_000, "groups": 10}  # fmt: skip
    return Reply(200, {"quota_set": found})


def _empty(name: str) -> Callable[[Call], Reply]:
    return lambda _: Reply(200, {name: []})


_UNDER = (
    ("GET", "/volumes", list_volumes),
    ("GET", "/volumes/detail", list_volumes),
    ("POST", "/volumes", create_volume),
    ("GET", "/volumes/{id}", show_volume),
    ("DELETE", "/volumes/{id}", delete_volume),
    ("GET", "/limits", limits),
    ("GET", "/os-quota-sets/{id}", quota),
    ("GET", "/snapshots", _empty("snapshots")),
    ("GET", "/snapshots/detail", _empty("snapshots")),
    ("GET", "/backups", _empty("backups")),
    ("GET", "/backups/detail", _empty("backups")),
    ("GET", "/types", _empty("volume_types")),
    ("GET", "/attachments", _empty("attachments")),
)
ENDPOINTS = (
    Endpoint("GET", "/", versions, open=True),
    Endpoint("GET", "/v3", version, open=True),
    Endpoint("GET", "/v3/", version, open=True),
    *(Endpoint(method, "/v3" + path, handler) for method, path, handler in _UNDER),
)
