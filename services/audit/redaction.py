"""What the ledger keeps of a message's data: all but what may be a secret, whose digest it keeps.

In the place of a secret stands `{"sha256": …, "length": …}` of the bytes, so that whoever holds
them can show that they were the ones. Such are `user_data` of a create, in whichever version, and
the value of a dead letter, which may be such a command (it stays whole on the topic
`dead.letters`).
"""

import base64
import binascii
import json
from hashlib import sha256
from typing import Any

_SECRETS = {"vm.create": "user_data", "dead.letter": "value_base64"}


def redact(wire_name: str, data: dict[str, Any]) -> None:
    """Put digests in the place of what may be secret in the data of a message of this type."""
    field = _SECRETS.get(wire_name.rpartition(".")[0])
    if field is not None and data.get(field) is not None:
        data[field] = _digest(data[field])


def _digest(value: object) -> dict[str, str | int]:
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        raw = base64.b64decode(text)
    except (binascii.Error, ValueError):
        raw = text.encode()
    return {"sha256": sha256(raw).hexdigest(), "length": len(raw)}
