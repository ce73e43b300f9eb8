"""Where a request comes from: the peer, or whom a trusted proxy names, and who is let in from there.

A header by which a request tells its origin is believed only as far as it was written by proxies
that the settings name. It is read from its end, where the nearest proxy wrote: what stands to the
left of the first address that is no trusted proxy's may be anybody's invention.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator
from starlette.datastructures import Headers
from starlette.types import Scope

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
ForwardedHeader = Literal["x-forwarded-for", "forwarded"]
_HOPS = 20
_LONGEST = 64
_SCHEMES = {"http", "https"}
_V6_SITE = 64


def _require_network(text: str) -> str:
    try:
        return str(ip_network(text.strip()))
    except ValueError as error:
        raise ValueError(
            "write an address or a network like 10.0.0.0/8 or 2001:db8::/32"
        ) from error


Cidr = Annotated[str, AfterValidator(_require_network)]
"""A network in CIDR notation, without host bits; an address is a network of its own."""


class Addresses:
    """What the settings say of proxies."""

    def __init__(self, trusted: Iterable[str], header: ForwardedHeader) -> None:
        self._trusted = networks(tuple(trusted))
        self._header = header

    def resolve(self, scope: Scope) -> tuple[str, str]:
        """The caller's address, as text, and the scheme that it used.

        An address that is none (a Unix socket's peer) is the empty string, which no list holds.
        """
        peer = read_address(scope["client"][0]) if scope.get("client") else None
        if peer is None:
            return "", scope["scheme"]
        if not _holds(self._trusted, peer):
            return str(peer), scope["scheme"]
        headers = Headers(scope=scope)
        if self._header == "forwarded":
            hops, schemes = _forwarded(",".join(headers.getlist("forwarded")))
        else:
            hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
            schemes = ",".join(headers.getlist("x-forwarded-proto")).split(",")
        said = schemes[-1].strip().lower() if schemes else ""
        return str(self._walk(peer, hops)), said if said in _SCHEMES else scope["scheme"]

    def _walk(self, peer: Address, hops: Sequence[str]) -> Address:
        """The first address from the right that is no trusted proxy's, or the last one readable."""
        here = peer
        for hop in list(reversed(hops))[:_HOPS]:
            before = read_address(hop.strip())
            if before is None:
                return here
            here = before
            if not _holds(self._trusted, here):
                return here
        return here


class AllowList:
    """Projects that may be reached from some networks only."""

    def __init__(self, given: Mapping[str, Sequence[str]]) -> None:
        self._given = given

    def admits(self, project_id: str, of_the_key: Sequence[str] | None, address: str) -> bool:
        """Whether both lists, as far as there are any, hold the address. An empty list holds none."""
        here = read_address(address)
        for listed in (self._given.get(project_id), of_the_key):
            if listed is not None and (here is None or not _holds(networks(tuple(listed)), here)):
                return False
        return True


@lru_cache(maxsize=4096)
def read_address(text: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None for anything else.

    An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address. A zone says
    nothing to anybody else and is refused.
    """
    if len(text) > _LONGEST:
        return None
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id else address.ipv4_mapped or address


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """What stands for an address where requests are counted.

    All of an IPv6 /64 count as one: whoever has one address of it has all of them.
    """
    read = read_address(address)
    if isinstance(read, IPv6Address):
        return str(ip_network((read, _V6_SITE), strict=False))
    return str(read)


@lru_cache(maxsize=1024)
def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks as settings and tables have them; ValueError for one that is none."""
    return tuple(_unmapped(ip_network(text)) for text in texts)


def _unmapped(network: Network) -> Network:
    """`::ffff:10.0.0.0/104` is 10.0.0.0/8."""
    mapped = network.network_address
    if isinstance(mapped, IPv6Address) and mapped.ipv4_mapped and network.prefixlen >= 96:  # noqa: PLR2004
        return ip_network((mapped.ipv4_mapped, network.prefixlen - 96))
    return network


def _holds(held: Sequence[Network], address: Address) -> bool:
    return any(address in network for network in held)


def _forwarded(text: str) -> tuple[list[str], list[str]]:
    """The `for` of each element of Forwarded (RFC 7239), and the `proto`s; empty where not said."""
    hops: list[str] = []
    schemes: list[str] = []
    for element in _split(text, ","):
        pairs = [pair.partition("=") for pair in _split(element, ";")]
        said = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        hops.append(said.get("for", ""))
        schemes.append(said.get("proto", ""))
    return hops, schemes


def _split(text: str, at: str) -> list[str]:
    """Split outside of quotes; one pass, whatever the text is."""
    parts: list[str] = []
    begin, quoted, escaped = 0, False, False
    for place, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and quoted:
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == at and not quoted:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]
