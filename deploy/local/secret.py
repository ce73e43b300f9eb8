"""Secrets of a local stack: made once, kept beside its data, readable by their owner only."""

import secrets
from pathlib import Path


def keep(file: Path) -> str:
    """The secret in `file`, 256 random bits, made if there is none."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32))
    return file.read_text()
