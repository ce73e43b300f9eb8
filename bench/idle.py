"""The floor under a service's memory: FastStream connected to Kafka beside an idle FastAPI.

`python -m bench.idle BOOTSTRAP_SERVERS [LIBRARY …]`; libraries are imported, and nothing is done.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

import uvicorn
from fastapi import FastAPI
from faststream.kafka import KafkaBroker


def app(servers: str) -> FastAPI:
    """The bare process."""
    broker = KafkaBroker(servers)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncGenerator[None]:
        await broker.start()
        yield
        await broker.stop()

    return FastAPI(lifespan=life)


if __name__ == "__main__":
    for library in sys.argv[2:]:
        import_module(library)
    uvicorn.run(app(sys.argv[1]), host="127.0.0.1", port=0, access_log=False, log_level="warning")
