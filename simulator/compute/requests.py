"""What Nova accepts in request bodies, by microversion."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

from functools import cache

from simulator.schema import (
    Array,
    Boolean,
    Count,
    Either,
    Items,
    Kind,
    Name,
    Object,
    OneOf,
    Rule,
    Text,
)

MAX_TAGS = 50
TAG = Text(shortest=1, longest=60, pattern="^[^,/]*$")
METADATA = Items("^[a-zA-Z0-9-_:. ]{1,255}$")
_UUID = Text(form="uuid")
_DESCRIPTION = Text(longest=255, null=True, form="printable")
_HOSTNAME = Text(shortest=2, longest=63, pattern="^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$")
_FQDN = Text(shortest=1, longest=255, pattern="^[a-zA-Z0-9-._]*$")
_DISK = OneOf(["AUTO", "MANUAL"])
_IP = Text(form="ip")
_ACCESS_IP = Either([_IP, OneOf([""])])


def _networks(minor: int) -> Rule:
    tag = {"tag": TAG} if minor == 32 or minor >= 42 or 33 <= minor <= 36 else {}
    uuid = _UUID if minor >= 37 else Text()
    fields = {"fixed_ip": _IP, "port": Text(form="uuid", null=True), "uuid": uuid, **tag}
    listed = Array(Object(fields))
    return Either([listed, OneOf(["none", "auto"])]) if minor >= 37 else listed


@cache
def server_create(minor: int) -> Object:
    """The body of POST /servers."""
    since: tuple[tuple[int, str, Rule], ...] = (
        (19, "description", _DESCRIPTION),
        (52, "tags", Array(TAG, longest=MAX_TAGS)),
        (63, "trusted_image_certificates",
         Either([Array(Text(shortest=1), longest=50, unique=True), Kind(["null"])])),
        (74, "host", _FQDN),
        (74, "hypervisor_hostname", _FQDN),
        (90, "hostname", _HOSTNAME if minor < 94 else _FQDN),
    )  # fmt: skip
    fields: dict[str, Rule] = {
        "name": Name(),
        "imageRef": Either([_UUID, Text(longest=0)]),
        "flavorRef": Either([Text(shortest=1), Kind(["integer"])]),
        "adminPass": Text(),
        "metadata": METADATA,
        "networks": _networks(minor),
        "OS-DCF:diskConfig": _DISK,
        "accessIPv4": _ACCESS_IP,
        "accessIPv6": _ACCESS_IP,
        "availability_zone": Name(),
        "block_device_mapping": Array(Kind(["object"])),
        "block_device_mapping_v2": Array(Kind(["object"])),
        "config_drive": Boolean(),
        "key_name": Name(),
        "min_count": Count(),
        "max_count": Count(),
        "return_reservation_id": Boolean(),
        "security_groups": Array(Object({"name": Name()})),
        "user_data": Text(longest=65535, form="base64"),
    }
    fields |= {name: rule for first, name, rule in since if minor >= first}
    if minor < 57:
        fields["personality"] = Array(Kind(["object"]))
    required = ["name", "flavorRef", *(["networks"] if minor >= 37 else [])]
    hints = Kind(["object"])
    whole = {
        "server": Object(fields, required),
        "os:scheduler_hints": hints,
        "OS-SCH-HNT:scheduler_hints": hints,
    }
    return Object(whole, ["server"])


@cache
def server_update(minor: int) -> Object:
    """The body of PUT /servers/{id}."""
    fields: dict[str, Rule] = {
        "name": Name(),
        "OS-DCF:diskConfig": _DISK,
        "accessIPv4": _ACCESS_IP,
        "accessIPv6": _ACCESS_IP,
    }
    if minor >= 19:
        fields["description"] = _DESCRIPTION
    if minor >= 90:
        fields["hostname"] = _HOSTNAME if minor < 94 else _FQDN
    return Object({"server": Object(fields)}, ["server"])


METADATA_BODY = Object({"metadata": METADATA}, ["metadata"])
META_ITEM = Object({"meta": METADATA}, ["meta"])
TAGS_BODY = Object({"tags": Array(TAG, longest=MAX_TAGS)}, ["tags"])
REBOOT = Object(
    {"reboot": Object({"type": OneOf(["HARD", "Hard", "hard", "SOFT", "Soft", "soft"])}, ["type"])},
    ["reboot"],
)
RESET_STATE = Object(
    {"os-resetState": Object({"state": OneOf(["active", "error"])}, ["state"])}, ["os-resetState"]
)
LOCK = Object(
    {"lock": Either([Kind(["null"]), Object({"locked_reason": Text(shortest=1, longest=255)})])},
    ["lock"],
)


@cache
def keypair_create(minor: int) -> Object:
    """The body of POST /os-keypairs. Since 2.92 Nova makes no keys: the public one is given."""
    fields: dict[str, Rule] = {
        "name": Text(shortest=1, longest=255, pattern=_KEY_NAMES[minor >= 92]),
        "public_key": Text(),
    }
    if minor >= 2:
        fields["type"] = OneOf(["ssh", "x509"])
    if minor >= 10:
        fields["user_id"] = Text()
    required = ["name", *(["public_key"] if minor >= 92 else [])]
    return Object({"keypair": Object(fields, required)}, ["keypair"])


_KEY_NAMES = {False: "^[a-zA-Z0-9 _-]+$", True: "^[a-zA-Z0-9 @._-]+$"}
