"""Who may enter the simulated cloud: users with a password, their tokens and application credentials."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from simulator.seed import Project, named_id

PASSWORD = "simulator"  # noqa: S105  (a cloud that holds nothing)
DOMAIN = {"id": "default", "name": "Default"}


@dataclass(frozen=True, slots=True)
class User:
    """A person or program that may log in."""

    id: str
    name: str


@dataclass(slots=True)
class Token:
    """A proof of who calls; times in seconds since the epoch. No project: unscoped."""

    id: str
    user_id: str
    user_name: str
    project_id: str
    project_name: str
    admin: bool
    issued: float
    expires: float
    method: str = "password"
    audit_id: str = ""

    @property
    def roles(self) -> list[str]:
        """The caller's roles in the project."""
        return ["reader", "member", *(["manager", "admin"] if self.admin else [])]


@dataclass(slots=True)
class AppCredential:
    """A secret that stands for a user in one project."""

    id: str
    name: str
    secret: str
    user_id: str
    project_id: str
    description: str | None = None


@dataclass
class IdentityStore:
    """Projects, users and tokens. `ttl` is a new token's life in seconds."""

    projects: dict[str, Project] = field(default_factory=dict[str, Project])
    users: dict[str, User] = field(default_factory=dict[str, User])
    tokens: dict[str, Token] = field(default_factory=dict[str, Token])
    credentials: dict[str, AppCredential] = field(default_factory=dict[str, AppCredential])
    ttl: float = 3600.0
    dirty: bool = False

    @classmethod
    def seeded(cls, projects: Iterable[Project], ttl: float) -> IdentityStore:
        """The projects of the seed, a user in each."""
        store = cls(ttl=ttl)
        for project in projects:
            store.projects[named_id("project", project.name).replace("-", "")] = project
            user = User(named_id("user", project.name).replace("-", ""), project.name)
            store.users[user.id] = user
        return store

    def project_id(self, name: str) -> str | None:
        """The id of a project, by name or id."""
        if name in self.projects:
            return name
        return next((key for key, p in self.projects.items() if p.name == name), None)

    def user(self, name: str) -> User | None:
        """A user, by id or name."""
        return self.users.get(name) or next(
            (u for u in self.users.values() if u.name == name), None
        )

    def may_enter(self, user: User, project_id: str) -> bool:
        """Whether a user has a role in a project: their own, and the operator in all."""
        return user.name in {self.projects[project_id].name, "admin"}

    def issue(self, user: User, project_id: str, now: float, method: str = "password") -> Token:
        """A new token of a user in a project."""
        self._forget(now)
        token = Token(
            id="gAAAAA" + secrets.token_urlsafe(120),
            user_id=user.id,
            user_name=user.name,
            project_id=project_id,
            project_name=self.projects[project_id].name if project_id else "",
            admin=user.name == "admin",
            issued=now,
            expires=now + self.ttl,
            method=method,
            audit_id=secrets.token_urlsafe(16),
        )
        self.tokens[token.id] = token
        self.dirty = True
        return token

    def valid(self, token_id: str, now: float) -> Token | None:
        """The token, if it is one, has not expired and was not revoked."""
        token = self.tokens.get(token_id)
        return token if token is not None and now < token.expires else None

    def revoke(self, token_id: str) -> None:
        """The token is worth nothing any more."""
        self.tokens.pop(token_id, None)
        self.dirty = True

    def revoke_all(self) -> int:
        """Every token is worth nothing any more; how many there were."""
        count = len(self.tokens)
        self.tokens.clear()
        self.dirty = True
        return count

    def _forget(self, now: float) -> None:
        """Old tokens go from the front: they were issued in order, with one time to live."""
        for key, token in list(self.tokens.items())[:8]:
            if token.expires <= now:
                del self.tokens[key]
