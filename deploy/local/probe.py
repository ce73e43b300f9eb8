"""Asks a Kafka broker for its metadata: the question that every client begins with."""

import socket
import struct
from typing import Final

# Length, then header v1 (Metadata = 3, version 1, correlation id 1, no client id), then no topics.
_BODY: Final = struct.pack(">hhihi", 3, 1, 1, -1, 0)
_REQUEST: Final = struct.pack(">i", len(_BODY)) + _BODY


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether the broker on this loopback port answers a metadata request and names a broker."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(_REQUEST)
            answer = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0  # noqa: PLR2004 - three ints
