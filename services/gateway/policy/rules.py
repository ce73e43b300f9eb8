"""Rules: which permission is given to which role, worked out once per policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chassis.identity import Caller
from contracts.identity import Role, allows
from services.gateway.policy.file import PolicyFile

_REMEMBERED = 10_000
MANAGES = "project.manage"
"""Whoever's role is given it is an admin of the project: all of it is theirs to see."""


@dataclass(frozen=True)
class Rules:
    """What stands for all requests until the policy changes."""

    needed: Mapping[str, Role]
    """Permission → the built-in role from which on it is given."""
    granted: Mapping[Role, frozenset[str]]
    _given: dict[Caller, Caller] = field(
        default_factory=dict[Caller, Caller], compare=False, repr=False
    )
    """Callers as they came, and as these rules have them: the same ones come again and again."""

    @classmethod
    def of(cls, policy: PolicyFile, known: Mapping[str, Role]) -> "Rules":
        """The rules of a policy; `known`: each permission with the role that its route asks for."""
        needed = {**known, **policy.permissions}
        granted = {
            role: frozenset(name for name, least in needed.items() if role.covers(least))
            for role in Role.BUILT_IN
        }
        for role, custom in policy.roles.items():
            granted[role] = frozenset(n for n in needed if allows(custom.permissions, n))
        return cls(needed, granted)

    def give(self, caller: Caller) -> Caller:
        """The caller with what the rules give their role."""
        found = self._given.get(caller)
        if found is None:
            if len(self._given) >= _REMEMBERED:
                self._given.clear()
            found = self._given[caller] = self._give(caller)
        return found

    def _give(self, caller: Caller) -> Caller:
        granted = self.granted.get(caller.role, frozenset())
        if caller.within is not None:
            granted &= self.granted.get(caller.within, frozenset())
        return replace(caller, granted=granted)

    def is_admin(self, caller: Caller) -> bool:
        """Whether the caller's role is given all of the project, scopes aside."""
        return MANAGES in (caller.granted or ())

    def is_beyond(self, caller: Caller, role: Role) -> bool:
        """Whether `role` may do what the caller may not: such a role is not theirs to give."""
        return not self.granted.get(role, frozenset()) <= (caller.granted or frozenset())
