"""The cloud's memory in one JSON file, so that a restart keeps its servers.

The JSON of each server and port is kept and made again only when it changed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import TypeAdapter

from simulator.api import is_array, is_object
from simulator.compute.model import Server
from simulator.compute.nova import KeyPair
from simulator.identity.tokens import AppCredential, Token
from simulator.network.model import FloatingIp, Port
from simulator.volume import Volume
from simulator.world import World

_SERVER = TypeAdapter(Server)
_PORT = TypeAdapter(Port)
_TOKENS, _PORTS = TypeAdapter(list[Token]), TypeAdapter(list[Port])
_KEYS, _VOLUMES = TypeAdapter(list[KeyPair]), TypeAdapter(list[Volume])
_FLOATING = TypeAdapter(list[FloatingIp])
_CREDENTIALS = TypeAdapter(list[AppCredential])


class Snapshot:
    """Writes a world to a file when it has changed, and reads it back."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._path = path
        self._servers: dict[str, bytes] = {}
        self._ports: dict[str, bytes] = {}
        self.lost = False  # the last write failed: try again though nothing changed

    def load(self) -> int:
        """Take in what the file holds, if there is one; how many servers."""
        if not self._path.exists():
            return 0
        data: object = json.loads(self._path.read_bytes())
        if not is_object(data):
            raise ValueError(f"{self._path} holds no snapshot")
        world = self._world
        for port in _PORTS.validate_python(data["ports"]):
            world.network.add(port)
        for floating in _FLOATING.validate_python(data.get("floating", [])):
            world.network.add_floating(floating)
        for key in _KEYS.validate_python(data["keypairs"]):
            world.compute.keypairs[key.user_id, key.name] = key
        for volume in _VOLUMES.validate_python(data["volumes"]):
            world.volumes.volumes[volume.id] = volume
        for token in _TOKENS.validate_python(data["tokens"]):
            world.identity.tokens[token.id] = token
        for credential in _CREDENTIALS.validate_python(data["credentials"]):
            world.identity.credentials[credential.id] = credential
        return self._load_servers(data["servers"])

    def _load_servers(self, servers: object) -> int:
        found = [_SERVER.validate_python(s) for s in servers] if is_array(servers) else []
        for server in sorted(found, key=lambda s: s.updated):
            self._world.compute.servers.add(server)
        return len(found)

    @property
    def dirty(self) -> bool:
        """Whether anything changed since the last write."""
        world = self._world
        return bool(
            self.lost
            or world.compute.servers.dirty
            or world.compute.dirty
            or world.network.dirty
            or world.identity.dirty
            or world.volumes.dirty
        )

    def encode(self) -> bytes:
        """The file's content; from now on nothing is dirty."""
        world = self._world
        self._refresh()
        self._refresh_ports()
        world.compute.dirty = world.network.dirty = False
        world.identity.dirty = world.volumes.dirty = False
        parts = {
            b"servers": b"[" + b",\n".join(self._servers.values()) + b"]",
            b"ports": b"[" + b",\n".join(self._ports.values()) + b"]",
            b"floating": _FLOATING.dump_json(list(world.network.floating.values())),
            b"keypairs": _KEYS.dump_json(list(world.compute.keypairs.values())),
            b"volumes": _VOLUMES.dump_json(list(world.volumes.volumes.values())),
            b"tokens": _TOKENS.dump_json(list(world.identity.tokens.values())),
            b"credentials": _CREDENTIALS.dump_json(list(world.identity.credentials.values())),
        }
        return b"{" + b",\n".join(b'"' + k + b'": ' + v for k, v in parts.items()) + b"}\n"

    def _refresh(self) -> None:
        table = self._world.compute.servers
        if table.renewed:
            self._servers.clear()
            table.renewed = False
        for server_id in table.dirty:
            server = table.find(server_id)
            if server is None:
                self._servers.pop(server_id, None)
            else:
                self._servers[server_id] = _SERVER.dump_json(server)
        table.dirty.clear()

    def _refresh_ports(self) -> None:
        store = self._world.network
        if store.renewed:
            self._ports.clear()
            store.renewed = False
        for port_id in store.touched:
            port = store.ports.get(port_id)
            if port is None:
                self._ports.pop(port_id, None)
            else:
                self._ports[port_id] = _PORT.dump_json(port)
        store.touched.clear()

    def write(self, content: bytes) -> None:
        """Put the content in the file's place, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(self._path.name + ".new")
        draft.write_bytes(content)
        self.lost = False
        os.replace(draft, self._path)  # noqa: PTH105  (atomic on purpose)
