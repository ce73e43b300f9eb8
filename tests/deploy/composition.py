"""docker-compose.yml as Compose reads it: merges made, variables filled in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
Json = dict[str, Any]


@dataclass(frozen=True)
class Stanza:
    """One service. `mounts` are sources by their targets, `conditions` are of what it depends on."""

    name: str
    command: list[str]
    environment: dict[str, str]
    mounts: dict[str, str]
    conditions: dict[str, str]
    check: list[str]
    profiles: list[str]
    restart: str


@dataclass(frozen=True)
class Composition:
    """All services, and the volumes that are declared."""

    stanzas: dict[str, Stanza]
    volumes: set[str]

    def order(self, *wanted: str) -> list[Stanza]:
        """These (all without a profile, if none is named) and what they stand on, that first."""
        names = wanted or [s.name for s in self.stanzas.values() if not s.profiles]
        found: dict[str, Stanza] = {}
        for name in names:
            self._add(name, found, ())
        return list(found.values())

    def _add(self, name: str, found: dict[str, Stanza], above: tuple[str, ...]) -> None:
        assert name not in above, f"{name} waits for itself: {above}"
        for each in self.stanzas[name].conditions:
            self._add(each, found, (*above, name))
        found.setdefault(name, self.stanzas[name])


def read(environment: Mapping[str, str]) -> Composition:
    """What Compose would start with these variables."""
    said: Json = yaml.safe_load(FILE.read_text())
    commands = _commands(DOCKERFILE.read_text())
    stanzas = {name: _stanza(name, s, commands, environment) for name, s in _of(said, "services")}
    return Composition(stanzas, set(said["volumes"]))


def _of(said: Json, key: str) -> list[tuple[str, Json]]:
    return list(cast("dict[str, Json]", said[key]).items())


def _stanza(
    name: str, said: Json, commands: Mapping[str, list[str]], environment: Mapping[str, str]
) -> Stanza:
    image = str(said["image"]).partition(":")[0]
    command = said.get("command") or commands.get(image.removeprefix("hostler/"), [])
    given: dict[str, str | None] = said.get("environment", {})
    mounts = [fill(each, environment).split(":") for each in said.get("volumes", [])]
    return Stanza(
        name=name,
        command=[fill(str(word), environment) for word in command],
        environment={k: v for k in given if (v := _value(k, given[k], environment)) is not None},
        mounts={target: source for source, target, *_ in mounts},
        conditions={k: v["condition"] for k, v in said.get("depends_on", {}).items()},
        check=[fill(word, environment) for word in said.get("healthcheck", {}).get("test", [])],
        profiles=list(said.get("profiles", [])),
        restart=str(said["restart"]),
    )


def _value(name: str, said: str | None, environment: Mapping[str, str]) -> str | None:
    """What is left empty is handed on where it is set."""
    return environment.get(name) if said is None else fill(said, environment)


def fill(text: str, environment: Mapping[str, str]) -> str:
    """`${NAME:-otherwise}` and `${NAME}` are variables, and `$$` is a dollar."""
    done = ""
    while "$" in text:
        before, _, text = text.partition("$")
        done += before
        if text.startswith("$"):
            done, text = f"{done}$", text[1:]
        else:
            inner, text = _braced(text)
            name, _, otherwise = inner.partition(":-")
            done += environment.get(name) or otherwise
    return done + text


def _braced(text: str) -> tuple[str, str]:
    """What stands in the braces at the beginning, and what comes after them."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0 and place:
            return text[1:place], text[place + 1 :]
    raise AssertionError(f"a brace is left open: ${text}")


def _commands(dockerfile: str) -> dict[str, list[str]]:
    """What each image runs, by the target that it is built from."""
    targets = re.findall(
        r"^FROM \S+ AS (\S+)$(.*?)(?=^FROM|\Z)", dockerfile, re.MULTILINE | re.DOTALL
    )
    found = {name: re.search(r"^CMD \[(.*)\]$", body, re.MULTILINE) for name, body in targets}
    return {n: re.findall(r'"([^"]*)"', c.group(1)) for n, c in found.items() if c}
