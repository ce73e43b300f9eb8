"""What the ledger keeps of a message's data: all but what may be a secret, whose digest it keeps.

In the place of a secret stands `{"sha256": …, "length": …}` of the bytes, so that whoever holds
them can show that they were the ones. Such are `user_data` of `vm.create.v1`, and the value of a
dead letter, which may be such a command (it stays whole on the topic `dead.letters`).
"""

import base64
import binascii
from hashlib import sha256
from typing import Any

from contracts.dead_letter import DeadLetter
from contracts.message import Body
from contracts.vm.commands import Create


def without_secrets(body: Body) -> dict[str, Any]:
    """The data of a message as JSON values, without `type`."""
    data = body.model_dump(mode="json", exclude={"type"})
    match body:
        case Create(user_data=str(text)):
            data["user_data"] = _digest(text)
        case DeadLetter(value_base64=text):
            data["value_base64"] = _digest(text)
        case _:
            pass
    return data


def _digest(text: str) -> dict[str, str | int]:
    try:
        raw = base64.b64decode(text)
    except (binascii.Error, ValueError):
        raw = text.encode()
    return {"sha256": sha256(raw).hexdigest(), "length": len(raw)}
