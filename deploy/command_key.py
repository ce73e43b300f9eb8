"""`python -m deploy.command_key`: a new key for the gateway to sign commands with, and its public half."""

import secrets

from chassis.seals import Signer, seed_of


def public_key(private: str) -> str:
    """The public half of a key, both in base64; ValueError if it is none."""
    return Signer(seed_of(private)).public_key


def main() -> None:
    """Print both, as the settings that they are for."""
    made = secrets.token_urlsafe(32)
    print(f"gateway:      HOSTLER_COMMAND_KEY={made}")
    print(f'provisioner:  HOSTLER_COMMAND_KEYS=["{public_key(made)}"]')


if __name__ == "__main__":
    main()
