"""The API's reference as a page: Swagger UI, of which every byte is served from here.

Its scripts come with a wheel that is pinned by hash, so that nobody else's server can change what
runs on a page where people enter their keys; the page's policy lets nothing else in.
"""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

PATH: Final = "/docs"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI writes styles into the page; scripts it brings along, and runs no others."""
_HEADERS = {"Cache-Control": "public, max-age=3600"}
_WHEEL = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
# Addresses are relative: the gateway may stand behind a prefix.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hostler</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def add_reference(app: FastAPI) -> None:
    """Serve the page, and what it loads."""
    policy = {"Content-Security-Policy": _POLICY}
    _serve(app, PATH, _PAGE.encode(), "text/html", policy)
    for name, kind in _WHEEL.items():
        _serve(app, f"{PATH}/{name}", _of_wheel(name), kind, _HEADERS)
    _serve(app, f"{PATH}/start.js", _START.encode(), "text/javascript", _HEADERS)


def _serve(app: FastAPI, path: str, content: bytes, kind: str, headers: dict[str, str]) -> None:
    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind, headers=headers)

    app.add_route(path, answer, include_in_schema=False)


def _of_wheel(name: str) -> bytes:
    return (files("fastapi_offline") / "static" / name).read_bytes()
