"""The caller's key pairs."""

from __future__ import annotations

import base64
import binascii
import hashlib

from simulator.api import ApiError, Call, Reply, is_object
from simulator.clock import micros
from simulator.compute import requests
from simulator.compute.nova import KeyPair
from simulator.schema import require

_TYPED = 2  # the microversion since which key pairs have a type


def _fingerprint(public_key: str) -> str:
    """MD5 of the key's blob, in pairs. ApiError 400 for what is no OpenSSH key."""
    words = public_key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, ValueError, binascii.Error) as error:
        raise ApiError(400, "Keypair data is invalid: failed to generate fingerprint") from error
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def _view(call: Call, key: KeyPair) -> dict[str, object]:
    typed = {"type": key.type} if call.version >= _TYPED else {}
    return {"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint, **typed}


def _find(call: Call) -> KeyPair:
    user, name = call.who.user_id, call.params["name"]
    key = call.world.compute.keypairs.get((user, name))
    if key is None:
        raise ApiError(404, f"Keypair {name} not found for user {user}")
    return key


def list_keypairs(call: Call) -> Reply:
    """GET /os-keypairs."""
    mine = [k for k in call.world.compute.keypairs.values() if k.user_id == call.who.user_id]
    found = [{"keypair": _view(call, key)} for key in sorted(mine, key=lambda k: k.name)]
    return Reply(200, {"keypairs": found})


def create_keypair(call: Call) -> Reply:
    """POST /os-keypairs: of a public key that is given."""
    body = require(requests.keypair_create(call.version), call.json())
    given = body["keypair"] if is_object(body["keypair"]) else {}
    if not is_object(given) or "public_key" not in given:
        raise ApiError(400, "Keypair data is invalid: failed to generate fingerprint")
    nova, user, name = call.world.compute, call.who.user_id, str(given["name"])
    fingerprint = _fingerprint(str(given["public_key"]))
    if (user, name) in nova.keypairs:
        raise ApiError(409, f"Key pair '{name}' already exists.")
    if sum(k.user_id == user for k in nova.keypairs.values()) >= (
        nova.quotas[call.who.project_id].key_pairs
    ):
        raise ApiError(403, "Quota exceeded, too many key pairs.")
    number = max((k.id for k in nova.keypairs.values()), default=0) + 1
    key = KeyPair(
        number, name, user, str(given["public_key"]), fingerprint,
        str(given.get("type", "ssh")), call.now,
    )  # fmt: skip
    nova.keypairs[user, name] = key
    nova.dirty = True
    return Reply(
        201 if call.version >= _TYPED else 200, {"keypair": {**_view(call, key), "user_id": user}}
    )


def show_keypair(call: Call) -> Reply:
    """GET /os-keypairs/{name}."""
    key = _find(call)
    more = {
        "user_id": key.user_id, "created_at": micros(key.created), "deleted": False,
        "deleted_at": None, "id": key.id, "updated_at": None,
    }  # fmt: skip
    return Reply(200, {"keypair": {**_view(call, key), **more}})


def delete_keypair(call: Call) -> Reply:
    """DELETE /os-keypairs/{name}."""
    key = _find(call)
    del call.world.compute.keypairs[key.user_id, key.name]
    call.world.compute.dirty = True
    return Reply(204 if call.version >= _TYPED else 202)
