"""What the ledger keeps of a message's data: all but what may be a secret, whose digest it keeps.

In the place of a sealed secret stand its length and the gateway's keyed digest. In the place of one
in the clear stands `{"sha256": …, "length": …}` of the bytes, so that whoever holds
them can show that they were the ones. Such are `user_data` of a create, in whichever version, and
the value of a dead letter, which may be such a command (it stays whole on the topic
`dead.letters`).
"""

import base64
import binascii
import json
from hashlib import sha256
from typing import Any, cast

_SECRETS = {"vm.create": "user_data", "dead.letter": "value_base64"}
_SEALED = "sealed_user_data"


def redact(wire_name: str, data: dict[str, Any]) -> None:
    """Put digests in the place of what may be secret in the data of a message of this type."""
    field = _SECRETS.get(wire_name.rpartition(".")[0])
    if field is not None and data.get(field) is not None:
        data[field] = _digest(data[field])
    if data.get(_SEALED) is not None:
        data[_SEALED] = _without_box(data[_SEALED])


def _without_box(sealed: object) -> dict[str, Any]:
    """What is known of a sealed secret; of what is none, that it is there."""
    if not isinstance(sealed, dict):
        return {}
    said = cast("dict[str, Any]", sealed)
    return {name: said[name] for name in ("digest", "length") if name in said}


def _digest(value: object) -> dict[str, str | int]:
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        raw = base64.b64decode(text)
    except (binascii.Error, ValueError):
        raw = text.encode()
    return {"sha256": sha256(raw).hexdigest(), "length": len(raw)}
