"""Cinder v3: volumes that can be made, looked at, marked and deleted; Nova attaches them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlencode

from simulator.api import ApiError, Call, Endpoint, Reply, is_object
from simulator.clock import micros
from simulator.ids import new_id

_MEDIA = "application/vnd.openstack.volume+json;version=3"
_BUILD = 0.3  # seconds that a volume is `creating`
_PAGE = 1000
_IN_USE = (
    "Invalid volume: Volume status must be available or error or error_restoring or "
    "error_extending or error_managing and must not be migrating, attached, belong to a group, "
    "have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer."
)


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
    server_id: str = ""
    attachment_id: str = ""
    attached: float = 0.0


@dataclass
class VolumeStore:
    """All volumes, by id."""

    volumes: dict[str, Volume] = field(default_factory=dict[str, Volume])
    dirty: bool = False

    def make(self, volume: Volume) -> Volume:
        """Take in a volume."""
        self.volumes[volume.id] = volume
        self.dirty = True
        return volume

    def attach(self, volume: Volume, server_id: str, now: float) -> None:
        """The server has it from now on."""
        volume.server_id, volume.attachment_id = server_id, new_id()
        volume.attached = now
        self.dirty = True

    def free(self, volume: Volume) -> None:
        """No server has it any more."""
        volume.server_id, volume.attachment_id = "", ""
        self.dirty = True


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


def status_of(volume: Volume, now: float) -> str:
    """The status as Cinder words it."""
    if volume.server_id:
        return "in-use"
    return "available" if now >= volume.created + _BUILD else "creating"


def _attachments(found: Volume) -> Sequence[Mapping[str, object]]:
    if not found.server_id:
        return []
    return [
        {"id": found.id, "attachment_id": found.attachment_id, "volume_id": found.id,
         "server_id": found.server_id, "host_name": None, "device": "/dev/sdb",
         "attached_at": micros(found.attached)}
    ]  # fmt: skip


def _view(call: Call, found: Volume) -> Mapping[str, object]:
    ready = call.now >= found.created + _BUILD
    return {
        "id": found.id, "status": status_of(found, call.now), "size": found.size,
        "availability_zone": "nova", "created_at": micros(found.created),
        "updated_at": micros(found.created + _BUILD) if ready else None, "name": found.name,
        "description": found.description, "volume_type": "sparse", "snapshot_id": None,
        "source_volid": None, "metadata": found.metadata,
        "links": [{"rel": "self", "href": f"{call.base_url}/v3/volumes/{found.id}"},
                  {"rel": "bookmark", "href": f"{call.base_url}/volumes/{found.id}"}],
        "user_id": found.user_id, "bootable": "false", "encrypted": False,
        "replication_status": None, "consistencygroup_id": None, "multiattach": False,
        "attachments": _attachments(found), "os-vol-tenant-attr:tenant_id": found.project_id,
    }  # fmt: skip


def _mine(call: Call) -> list[Volume]:
    found = call.world.volumes.volumes.values()
    return [v for v in found if v.project_id == call.who.project_id]


def _list(call: Call, path: str) -> Reply:
    """The newest first."""
    marker, limit = call.param("marker"), call.param("limit")
    if marker is not None and marker not in call.world.volumes.volumes:
        raise ApiError(404, f"Volume {marker} could not be found.")
    most = int(limit) if limit is not None and limit.isdigit() else _PAGE
    found = list(islice(_behind(_chosen(call), marker), most))
    body: dict[str, object] = {"volumes": [_view(call, v) for v in found]}
    if found and len(found) == most:
        query = [(n, v) for n, v in call.query if n != "marker"] + [("marker", found[-1].id)]
        href = f"{call.base_url}/v3{path}?{urlencode(query)}"
        body["volumes_links"] = [{"rel": "next", "href": href}]
    return Reply(200, body)


def list_volumes(call: Call) -> Reply:
    """GET /v3/volumes, in as many words as the other."""
    return _list(call, "/volumes")


def detail_volumes(call: Call) -> Reply:
    """GET /v3/volumes/detail."""
    return _list(call, "/volumes/detail")


def _chosen(call: Call) -> Iterator[Volume]:
    """By name and metadata, which comes as a Python or JSON literal."""
    name, status, wanted = call.param("name"), call.param("status"), _metadata(call)
    for volume in reversed(_mine(call)):
        named = name in {None, volume.name} and status in {None, status_of(volume, call.now)}
        if named and wanted.items() <= volume.metadata.items():
            yield volume


def _metadata(call: Call) -> Mapping[str, object]:
    text = call.param("metadata")
    if text is None:
        return {}
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {}
    return found if is_object(found) else {}


def _behind(found: Iterator[Volume], marker: str | None) -> Iterator[Volume]:
    passed = marker is None
    for volume in found:
        if passed:
            yield volume
        passed = passed or volume.id == marker


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
        id=new_id(),
        name=str(given.get("name") or ""),
        description=None if given.get("description") is None else str(given["description"]),
        size=size,
        project_id=call.who.project_id,
        user_id=call.who.user_id,
        created=call.now,
        metadata={k: str(v) for k, v in metadata.items()} if is_object(metadata) else {},
    )
    call.world.volumes.make(made)
    return Reply(202, {"volume": _view(call, made)})


def _one(call: Call) -> Volume:
    found = call.world.volumes.volumes.get(call.params["id"])
    if found is None or found.project_id != call.who.project_id:
        raise ApiError(404, f"Volume {call.params['id']} could not be found.")
    return found


def show_volume(call: Call) -> Reply:
    """GET /v3/volumes/{id}."""
    return Reply(200, {"volume": _view(call, _one(call))})


def delete_volume(call: Call) -> Reply:
    """DELETE /v3/volumes/{id}: not while a server has it."""
    found = _one(call)
    if status_of(found, call.now) not in {"available", "error"}:
        raise ApiError(400, _IN_USE)
    del call.world.volumes.volumes[found.id]
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
    ("GET", "/volumes/detail", detail_volumes),
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
