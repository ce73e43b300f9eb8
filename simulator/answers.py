"""How each service words an error: the body differs from service to service."""

from __future__ import annotations

from http import HTTPStatus

from simulator.api import ApiError, Reply, Service

# nova.api.openstack.wsgi.Fault; what is not named is a computeFault (406 too)
_NOVA = {
    400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound",
    405: "badMethod", 409: "conflictingRequest", 413: "overLimit", 415: "badMediaType",
    429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}  # fmt: skip
_HTML = """<html>
 <head>
  <title>{code} {title}</title>
 </head>
 <body>
  <h1>{code} {title}</h1>
  {message}<br /><br />



 </body>
</html>"""
UNAUTHORIZED = "The request you have made requires authentication."


def missing_route(service: Service) -> Reply:
    """Nothing answers at this path: a web server's page, but for Neutron's and Keystone's JSON."""
    words = "The resource could not be found."
    if service in {"network", "identity"}:
        return error_reply(service, ApiError(404, words), "")
    page = _HTML.format(code=404, title="Not Found", message=words)
    return Reply(404, page.encode(), content_type="text/html; charset=UTF-8")


def error_reply(service: Service, error: ApiError, root_url: str) -> Reply:
    """The answer that the service would give."""
    title = HTTPStatus(error.status).phrase
    shape = {"code": error.status, "title": title, "message": error.message}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": f'Keystone uri="{root_url}/identity"'}
        return Reply(401, {"error": shape}, headers)
    if service == "identity":
        return Reply(error.status, {"error": shape})
    if service == "network":
        kind = error.kind or "HTTP" + title.replace(" ", "")
        body = {"type": kind, "message": error.message, "detail": ""}
        return Reply(error.status, {"NeutronError": body})
    if service == "image":
        page = _HTML.format(code=error.status, title=title, message=error.message)
        return Reply(error.status, page.encode(), content_type="text/html; charset=UTF-8")
    name = _NOVA.get(error.status, "computeFault")
    return Reply(error.status, {name: {"code": error.status, "message": error.message}})
