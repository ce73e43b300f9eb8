"""No command without a test that kills the provisioner at each of its steps, and repeats each."""

from contracts.message import Command
from contracts.topics import VM_COMMANDS
from tests.unit.provisioner.test_every_step import PLAYS


def test_every_command_is_played_with_kills_and_repeats_at_every_step() -> None:
    commands = {body for body in VM_COMMANDS.carries if issubclass(body, Command)}
    missing = sorted(command.__name__ for command in commands - PLAYS.keys())
    assert missing == [], (
        "add how it is played to PLAYS in tests/unit/provisioner/test_every_step.py"
    )
    assert all(PLAYS.values()), "each command has at least one play"
