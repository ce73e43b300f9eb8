"""Errors over HTTP are problems; a caller that goes away in the middle of its request is no bug."""

import logging

import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from chassis import problems

BEGUN: Message = {"type": "http.request", "body": b'{"name": "we', "more_body": True}
GONE: Message = {"type": "http.disconnect"}
POST = {
    "type": "http",
    "method": "POST",
    "path": "/",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"100")],
}


async def hang_up(app: FastAPI) -> list[Message]:
    """Send half a body and go; what the app would still say."""
    coming, said = [BEGUN, GONE], list[Message]()

    async def receive() -> Message:
        return coming.pop(0) if coming else GONE

    async def send(message: Message) -> None:
        said.append(message)

    await app(POST, receive, send)
    return said


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_is_neither_heard_nor_a_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, done = FastAPI(), list[bytes]()
    problems.install(app)

    @app.post("/")
    async def take(request: Request) -> None:  # pyright: ignore[reportUnusedFunction]
        done.append(await request.body())

    with caplog.at_level(logging.INFO):
        said = await hang_up(app)
    assert done == []
    assert [each["status"] for each in said if "status" in each] == [400]
    assert [(r.levelno, r.name) for r in caplog.records] == [(logging.INFO, "chassis.problems")]
