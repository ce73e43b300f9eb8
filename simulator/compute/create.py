"""POST /servers: Nova's checks in Nova's order, then a server that begins to build."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from simulator.api import ApiError, Call, Reply, is_array, is_object
from simulator.compute import requests
from simulator.compute.life import plan_build
from simulator.compute.model import Flavor, Nic, Server
from simulator.compute.quotas import check_quota
from simulator.compute.servers import record
from simulator.compute.view import links
from simulator.ids import new_id, new_word
from simulator.image import StoredImage
from simulator.schema import require

Json = Mapping[str, object]
_AMBIGUOUS = "Multiple possible networks found, use a Network ID to be more specific."


def create(call: Call) -> Reply:
    """POST /servers."""
    body = require(requests.server_create(call.version), call.json())
    given = body["server"]
    if not is_object(given):
        raise ApiError(400, f"{given!r} is not of type 'object'")
    least = int(str(given.get("min_count", 1)))
    count = int(str(given.get("max_count", least)))
    if least > count:
        raise ApiError(400, "min_count must be <= max_count")
    make = _checked(call, given, count)
    reservation = "r-" + new_word(8)
    hints = body.get("os:scheduler_hints", body.get("OS-SCH-HNT:scheduler_hints"))
    servers = [make(i + 1 if count > 1 else 0, reservation) for i in range(count)]
    for server in servers:
        server.hints = hints if is_object(hints) else {}
        _begin(call, server)
    if str(given.get("return_reservation_id", "")).lower() in {"true", "1", "yes", "on", "t", "y"}:
        return Reply(202, {"reservation_id": reservation})
    return _answer(call, given, servers[0])


class _Maker:
    """Makes servers of one checked request."""

    def __init__(
        self, call: Call, given: Json, flavor: Flavor, image: StoredImage, nics: list[Nic]
    ) -> None:
        self._call, self._given = call, given
        self._flavor, self._image, self._nics = flavor, image, nics

    def __call__(self, number: int, reservation: str) -> Server:
        """The server; `number` goes behind the name where there are several."""
        call, given = self._call, self._given
        name = str(given["name"]).strip() + (f"-{number}" if number else "")
        server = Server(
            id=new_id(),
            seq=call.world.compute.servers.next_seq(),
            name=name,
            hostname=str(given.get("hostname") or _hostname(name)),
            project_id=call.who.project_id,
            user_id=call.who.user_id,
            flavor=self._flavor,
            image_id=self._image.id,
            image_properties=dict(self._image.spec.properties),
            created=call.now,
            updated=call.now,
            reservation_id=reservation,
            nics=list(self._nics),
            security_groups=_group_names(given),
        )
        _fill(call, server, given)
        return server


def _fill(call: Call, server: Server, given: Json) -> None:
    """The optional fields."""
    words = given.get("description") if call.version >= 19 else server.name
    server.description = None if words is None else str(words)
    metadata, tags = given.get("metadata"), given.get("tags")
    certs = given.get("trusted_image_certificates")
    server.metadata = {k: str(v) for k, v in metadata.items()} if is_object(metadata) else {}
    server.tags = list(dict.fromkeys(str(t) for t in tags)) if is_array(tags) else []
    server.trusted_certs = [str(c) for c in certs] if is_array(certs) else None
    server.zone = _text(given, "availability_zone")
    server.key_name, server.user_data = _text(given, "key_name"), _text(given, "user_data")
    server.config_drive = "True" if str(given.get("config_drive")).lower() in {"true", "1"} else ""
    server.disk_config = str(given.get("OS-DCF:diskConfig", "MANUAL"))
    server.access_ipv4 = str(given.get("accessIPv4", ""))
    server.access_ipv6 = str(given.get("accessIPv6", ""))


def _text(given: Json, name: str) -> str | None:
    value = given.get(name)
    return None if value is None else str(value)


def _hostname(name: str) -> str:
    """A host name made of a display name, as nova.utils.sanitize_hostname does."""
    clean = re.sub(r"[ _.]", "-", name.encode("latin-1", "ignore").decode("latin-1"))
    return re.sub(r"[^\w.-]+", "", clean).lower().strip(".-")[:63] or "server"


def _checked(call: Call, given: Json, count: int) -> _Maker:
    zone = given.get("availability_zone")
    image = _image(call, given)
    flavor = call.world.compute.flavors.get(str(given["flavorRef"]))
    if flavor is None:
        raise ApiError(400, f"Flavor {given['flavorRef']} could not be found.")
    if zone is not None and str(zone).split(":")[0] != "nova":
        raise ApiError(400, "The requested availability zone is not available")
    _check_key(call, given)
    _check_fit(flavor, image)
    _check_metadata(call, given)
    for name in _group_names(given):
        if call.world.network.group(call.who.project_id, name) is None:
            raise ApiError(400, f"Unable to find security_group with name or id '{name}'")
    nics = _nics(call, given)
    check_quota(call, flavor, count)
    return _Maker(call, given, flavor, image, nics)


def _image(call: Call, given: Json) -> StoredImage:
    wanted = given.get("imageRef")
    if not wanted:
        raise ApiError(400, "Missing imageRef attribute")
    image = call.world.images.by_id.get(str(wanted))
    if image is None:
        raise ApiError(400, "Can not find requested image")
    return image


def _check_key(call: Call, given: Json) -> None:
    key = given.get("key_name")
    if key is not None and (call.who.user_id, str(key)) not in call.world.compute.keypairs:
        raise ApiError(400, "Invalid key_name provided.")


def _check_fit(flavor: Flavor, image: StoredImage) -> None:
    if flavor.ram < image.spec.min_ram:
        raise ApiError(400, "Flavor's memory is too small for requested image.")
    if flavor.disk and flavor.disk < image.spec.min_disk:
        raise ApiError(
            400,
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {flavor.disk << 30} bytes, "
            f"minimum size is {image.spec.min_disk << 30} bytes.",
        )


def _check_metadata(call: Call, given: Json) -> None:
    metadata = given.get("metadata")
    limit = call.world.compute.quotas[call.who.project_id].metadata_items
    if is_object(metadata) and 0 <= limit < len(metadata):
        raise ApiError(403, f"Maximum number of metadata items exceeds {limit}")


def _group_names(given: Json) -> list[str]:
    groups = given.get("security_groups")
    found = (
        [str(g["name"]) for g in groups if is_object(g) and "name" in g] if is_array(groups) else []
    )
    return list(dict.fromkeys(found))


def _nics(call: Call, given: Json) -> list[Nic]:
    wanted = given.get("networks")
    if wanted == "none":
        return []
    if is_array(wanted) and wanted:
        return _asked_nics(call, [n for n in wanted if is_object(n)])
    return _automatic_nic(call)


def _automatic_nic(call: Call) -> list[Nic]:
    """The tenant's only network. What is external is never taken, what is shared only alone."""
    project = call.who.project_id
    found = [n for n in call.world.network.networks.values() if n.owner == project]
    found = [n for n in found if not n.spec.external] or [
        n for n in call.world.network.networks.values() if n.spec.shared
    ]
    if len(found) > 1:
        raise ApiError(409, _AMBIGUOUS)
    return [Nic(n.id) for n in found]


def _asked_nics(call: Call, wanted: Sequence[Json]) -> list[Nic]:
    nics: list[Nic] = []
    for entry in wanted:
        port = entry.get("port")
        nic = _by_port(call, str(port)) if port else _by_network(call, entry)
        if nic.port_id is not None and nic in nics:
            words = f"Port ID '{nic.port_id}' was specified twice: "
            raise ApiError(400, words + "you cannot attach a port multiple times.")
        nics.append(nic)
    return nics


def _by_port(call: Call, port_id: str) -> Nic:
    port = call.world.network.ports.get(port_id)
    if port is None or port.project_id != call.who.project_id:
        raise ApiError(400, f"Port id {port_id} could not be found.")
    if port.device_id:
        raise ApiError(409, f"Port {port_id} is still in use.")
    return Nic(port.network_id, port_id)


def _by_network(call: Call, entry: Json) -> Nic:
    if "uuid" not in entry:
        raise ApiError(400, "Bad network format: missing 'uuid'")
    network = call.world.network.networks.get(str(entry["uuid"]))
    if network is None or not network.open_to(call.who.project_id, admin=call.who.admin):
        raise ApiError(400, f"Network {entry['uuid']} could not be found.")
    return Nic(network.id, fixed_ip=_text(entry, "fixed_ip"))


def _begin(call: Call, server: Server) -> None:
    nova = call.world.compute
    record(call, server, "create")
    server.plan = plan_build(server, nova.outcome_for(server.name), nova.timing, call.now)
    nova.servers.add(server)


def _answer(call: Call, given: Json, server: Server) -> Reply:
    found = links(call.base_url, "servers", server.id)
    groups = [{"name": name} for name in server.security_groups]
    body: dict[str, object] = {
        "id": server.id,
        "links": found,
        "OS-DCF:diskConfig": server.disk_config,
        "security_groups": groups or [{"name": "default"}],
        "adminPass": _text(given, "adminPass") or new_word(12),
    }
    return Reply(202, {"server": body}, {"Location": str(found[0]["href"])})
