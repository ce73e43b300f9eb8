"""`python -m simulator`: an OpenStack of one process on one port."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path

from simulator.compute.life import Timing
from simulator.seed import read_seed
from simulator.server import clouds_yaml, serve, write_whole
from simulator.world import World


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--public-url", help="the address in clouds.yaml, where it is another")
    parser.add_argument("--clouds-yaml", type=Path, help="written once the port is open")
    parser.add_argument("--seed-file", type=Path, help="JSON: projects, flavors, images, networks")
    parser.add_argument("--state", type=Path, help="snapshot file, read at start, kept up to date")
    parser.add_argument("--build-seconds", type=float, default=1.0, help="how long a build takes")
    parser.add_argument("--token-ttl", type=float, default=3600.0, help="a token's life in seconds")
    parser.add_argument("--no-date-header", action="store_true", help="as behind uwsgi's router")
    return parser.parse_args()


def main() -> int:
    """Run until SIGTERM or SIGINT; 0."""
    given = _arguments()
    world = World(
        read_seed(given.seed_file),
        timing=Timing(build=given.build_seconds),
        token_ttl=given.token_ttl,
    )
    bound = socket.create_server((given.host, given.port), backlog=2048)
    # What is accepted inherits it. asyncio sets it only on sockets that name their protocol, and
    # without it the body of each answer waits 40 ms behind its headers for an ACK.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    url: str = given.public_url or f"http://{given.host}:{bound.getsockname()[1]}"

    def ready() -> None:
        if given.clouds_yaml is not None:
            write_whole(given.clouds_yaml, clouds_yaml(world, url))
        sys.stdout.write(f"simulator: OpenStack on {url} (identity {url}/identity/v3)\n")
        sys.stdout.flush()

    asyncio.run(serve(world, bound, ready, given.state, date_header=not given.no_date_header))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
