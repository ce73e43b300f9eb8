"""The fingerprint of each message type: a changed schema without a new version is noticed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from contracts.topics import types

FILE = Path(__file__).with_name("fingerprints.json")
_PROSE = {"description", "title", "examples"}


def fingerprints() -> dict[str, str]:
    """Every wire name with the hash of what its JSON schema demands, prose left out."""
    return {name: _hash(body.model_json_schema()) for name, body in sorted(types().items())}


def _hash(schema: dict[str, Any]) -> str:
    canonical = json.dumps(_demands(schema), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _demands(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_demands(each) for each in schema]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(schema, dict):
        return schema
    known: dict[str, Any] = schema  # pyright: ignore[reportUnknownVariableType]
    return {
        key: {k: _demands(v) for k, v in value.items()} if key == "properties" else _demands(value)
        for key, value in known.items()
        if key not in _PROSE
    }
