"""The policy file: roles that permissions ask for, and roles of one's own, as YAML."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from contracts.identity import Role, Scope, allows

MOST_BYTES = 256 * 1024
Place = Sequence[int | str]


class PolicyError(ValueError):
    """The file cannot be used; its text says where and what to do, a line for each mistake."""


class CustomRole(BaseModel):
    """What a role may do: these permissions and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    description: str = Field(default="", max_length=255)
    permissions: list[Scope] = Field(min_length=1, max_length=200)


class PolicyFile(BaseModel):
    """What a policy file says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    permissions: dict[Annotated[str, Field(max_length=101)], Role] = {}
    """Permission → the built-in role from which on it is given."""
    roles: dict[Role, CustomRole] = {}

    @field_validator("permissions")
    @classmethod
    def _built_in(cls, permissions: dict[str, Role]) -> dict[str, Role]:
        for name, role in permissions.items():
            if role not in Role.BUILT_IN:
                raise ValueError(f"{name}: write viewer, operator or admin, not {role}")
        return permissions

    @field_validator("roles")
    @classmethod
    def _others(cls, roles: dict[Role, CustomRole]) -> dict[Role, CustomRole]:
        if taken := sorted(set(roles) & set(Role.BUILT_IN)):
            raise ValueError(f"{taken[0]} is built in: choose another name")
        return roles


def parse(content: bytes, known: Collection[str]) -> PolicyFile:
    """What a file says. PolicyError: not YAML, not of this shape, or of permissions not in `known`."""
    if len(content) > MOST_BYTES:
        raise PolicyError(f"is longer than {MOST_BYTES} bytes")
    node, data = _read(content)
    if twice := [_at(key, f"{key.value!r} is there twice") for key in _twice(node)]:
        raise PolicyError("\n".join(twice))
    try:
        read = PolicyFile.model_validate({} if data is None else data)
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)
        raise PolicyError("\n".join(_told(node, e["loc"], e["msg"]) for e in said)) from error
    if mistakes := [_told(node, place, why) for place, why in _unknown(read, known)]:
        raise PolicyError("\n".join(mistakes))
    return read


def _read(content: bytes) -> tuple[yaml.Node | None, object]:
    try:
        node = yaml.SafeLoader(content).get_single_node()
        data: object = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise PolicyError(f"{line}not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PolicyError(f"not YAML: {error}") from error
    return node, data


def _unknown(read: PolicyFile, known: Collection[str]) -> Iterator[tuple[Place, str]]:
    for name in read.permissions:
        if name not in known:
            yield ("permissions", name), _none_such(name, known)
    for role, custom in read.roles.items():
        for at, pattern in enumerate(custom.permissions):
            if not any(allows((pattern,), each) for each in known):
                yield ("roles", role, "permissions", at), _none_such(pattern, known)


def _none_such(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else "GET /v1/permissions lists them all"
    return f"there is no permission {name[:80]}: {hint}"


def _told(node: yaml.Node | None, place: Place, why: str) -> str:
    named = ".".join(str(part) for part in place if part != "[key]")
    return _at(_node(node, place), f"{named}: {why.removeprefix('Value error, ')}")


def _at(node: yaml.Node | None, why: str) -> str:
    return f"line {node.start_mark.line + 1}: {why}" if node is not None else why


def _node(node: yaml.Node | None, place: Place) -> yaml.Node | None:
    """What stands at a place, by its key, or as near to it as there is something."""
    shown = node
    for part in place:
        found = _child(node, part)
        if found is None:
            break
        shown, node = found
    return shown


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """The key, or the item, that `part` names, and its value."""
    if isinstance(node, yaml.MappingNode):
        return next((pair for pair in _pairs(node) if pair[0].value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        items: list[yaml.Node] = node.value
        return (items[part], items[part]) if part < len(items) else None
    return None


def _twice(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Keys of which YAML's reader would take the last, and another reader the first."""
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in _pairs(node):
            if isinstance(key.value, str):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _twice(value)


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    return node.value
