"""Which endpoint answers a path: services by prefix, then their endpoints in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator import image, volume
from simulator.api import Endpoint, Service
from simulator.compute import routes as compute
from simulator.identity import routes as identity
from simulator.network import routes as network

SERVICES: Mapping[Service, Sequence[Endpoint]] = {
    "compute": compute.ENDPOINTS,
    "identity": identity.ENDPOINTS,
    "image": image.ENDPOINTS,
    "network": network.ENDPOINTS,
    "volume": volume.ENDPOINTS,
}


@dataclass(frozen=True, slots=True)
class Match:
    """What a request is for; no endpoint: nothing answers there."""

    service: Service
    template: str
    endpoint: Endpoint | None = None
    params: Mapping[str, str] | None = None


def _compile(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


class Router:
    """Finds the endpoint of a request."""

    def __init__(self) -> None:
        self._plain: dict[tuple[str, str, str], Endpoint] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Endpoint]]] = {}
        for service, endpoints in SERVICES.items():
            for endpoint in endpoints:
                self._add(service, endpoint)

    def _add(self, service: Service, endpoint: Endpoint) -> None:
        path = endpoint.path.rstrip("/")
        if "{" not in path:
            self._plain[service, endpoint.method, path] = endpoint
            return
        key = (service, endpoint.method)
        self._patterns.setdefault(key, []).append((_compile(path), endpoint))

    def find(self, method: str, path: str) -> Match | None:
        """What answers; None outside of every service."""
        prefix, _, rest = path.lstrip("/").partition("/")
        service: Service | None = next((name for name in SERVICES if name == prefix), None)
        if service is None:
            return None
        method = "GET" if method == "HEAD" else method
        rest = ("/" + rest).rstrip("/")
        endpoint = self._plain.get((service, method, rest))
        if endpoint is not None:
            return Match(service, endpoint.path, endpoint, {})
        for pattern, candidate in self._patterns.get((service, method), []):
            found = pattern.fullmatch(rest)
            if found is not None:
                return Match(service, candidate.path, candidate, found.groupdict())
        return Match(service, rest)
