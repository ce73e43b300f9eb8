"""The policy that stands: read at start, and again when the file is another than it was."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import Counter, Gauge

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.problems import invalid
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway.policy.file import MOST_BYTES, PolicyError, PolicyFile, parse
from services.gateway.policy.rules import Rules

LOG = logging.getLogger(__name__)
EVERY_SECONDS = 2.0
BROKEN = Gauge(
    "hostler_policy_broken",
    "1 while the policy file cannot be used and the last good one stands.",
)
READ = Counter("hostler_policy_reads", "Policies that were taken, or could not be.", ["outcome"])


class Policy:
    """The rules as the file has them; those that are built in where there is no file.

    ValueError where the file cannot be used at start. Later a broken one changes nothing.
    """

    def __init__(self, path: Path | None, known: Mapping[str, Role]) -> None:
        self.path = path
        self.known = dict(known)
        self.broken = ""
        """Why the file as it is now cannot be used; empty if it can."""
        self._content = b"" if path is None else _content(path)
        self.rules = self._rules(self._content)

    def needed(self, permission: str, role: Role) -> Role:
        """The role from which on a permission is given, where its route asks for `role`."""
        return self.rules.needed.get(permission, role)

    def require_may_give(self, caller: Caller, role: Role, field: str = "body.role") -> None:
        """A 400 for a role that there is not, a 403 for one that may do what the caller may not."""
        rules = self.rules
        if role not in rules.granted:
            raise invalid(field, f"There is no role {role}; known: {', '.join(rules.granted)}.")
        if not caller.is_platform_admin and rules.is_beyond(caller, role):
            sentence = f"The role {role} may do what the caller may not: it is not theirs to give."
            raise Terminal(ErrorCode.FORBIDDEN, sentence)

    async def watch(self) -> None:
        """Look at the file for ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Take the file if it is another than it was; if it is broken, keep what stands."""
        if self.path is None:
            return
        try:
            content = await asyncio.to_thread(_content, self.path)
            if content == self._content and not self.broken:
                return
            self.rules = self._rules(content)
        except PolicyError as error:
            self._keep(str(error))
            return
        self._content, self.broken = content, ""
        BROKEN.set(0)
        READ.labels("taken").inc()
        LOG.info("policy taken from %s", self.path)

    async def probe(self) -> str:
        """Which policy stands; raises while the file is broken."""
        if self.broken:
            raise RuntimeError(f"the last good policy stands; {self.broken}")
        return "built in" if self.path is None else str(self.path)

    def _keep(self, why: str) -> None:
        if why != self.broken:
            LOG.error("the policy file cannot be used, the last good one stands: %s", why)
            READ.labels("broken").inc()
        self.broken = why
        BROKEN.set(1)

    def _rules(self, content: bytes) -> Rules:
        if self.path is None:
            return Rules.of(PolicyFile(), self.known)
        try:
            return Rules.of(parse(content, self.known), self.known)
        except PolicyError as error:
            raise _named(self.path, str(error)) from error


def _content(path: Path) -> bytes:
    """All of the file, or more than may be; PolicyError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _named(path, f"cannot be read: {error.strerror}") from error


def _named(path: Path, why: str) -> PolicyError:
    return PolicyError("\n".join(f"HOSTLER_POLICY_FILE {path}: {line}" for line in why.split("\n")))
