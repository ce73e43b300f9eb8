"""Which volumes a server has: attached and detached at once, without a hypervisor."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

from simulator.api import ApiError, Call, Reply, is_object
from simulator.compute.model import Server
from simulator.compute.servers import check_lock, find
from simulator.volume import Volume, status_of


def _view(call: Call, server: Server, volume: Volume) -> dict[str, object]:
    body: dict[str, object] = {
        "serverId": server.id, "volumeId": volume.id, "device": "/dev/sdb",
    }  # fmt: skip
    if call.version < 89:
        body["id"] = volume.id
    if call.version >= 70:
        body["tag"] = None
    if call.version >= 79:
        body["delete_on_termination"] = False
    if call.version >= 89:
        body |= {"attachment_id": volume.attachment_id, "bdm_uuid": volume.attachment_id}
    return body


def index(call: Call) -> Reply:
    """GET /servers/{id}/os-volume_attachments."""
    server, volumes = find(call, call.params["id"]), call.world.volumes.volumes
    found = [_view(call, server, volumes[i]) for i in server.volumes if i in volumes]
    return Reply(200, {"volumeAttachments": found})


def attach(call: Call) -> Reply:
    """POST /servers/{id}/os-volume_attachments."""
    server, body = find(call, call.params["id"]), call.json()
    given = body.get("volumeAttachment") if is_object(body) else None
    wanted = str(given.get("volumeId")) if is_object(given) else ""
    check_lock(call, server)
    volume = call.world.volumes.volumes.get(wanted)
    if volume is None or volume.project_id != call.who.project_id:
        raise ApiError(404, f"Volume {wanted} could not be found.")
    status = status_of(volume, call.now)
    if status != "available":
        words = f"Invalid volume: volume {wanted} status must be available"
        raise ApiError(400, f"{words}. Currently in {status!r}")
    call.world.volumes.attach(volume, server.id, call.now)
    server.volumes.append(volume.id)
    call.world.compute.servers.edit(server)
    return Reply(202 if call.version >= 101 else 200,
                 {"volumeAttachment": _view(call, server, volume)})  # fmt: skip


def detach(call: Call) -> Reply:
    """DELETE /servers/{id}/os-volume_attachments/{volume_id}."""
    server, wanted = find(call, call.params["id"]), call.params["volume_id"]
    check_lock(call, server)
    if wanted not in server.volumes:
        words = f"Instance {server.id} is not attached to volume {wanted}"
        raise ApiError(404, words)
    server.volumes.remove(wanted)
    volume = call.world.volumes.volumes.get(wanted)
    if volume is not None:
        call.world.volumes.free(volume)
    call.world.compute.servers.edit(server)
    return Reply(202)
