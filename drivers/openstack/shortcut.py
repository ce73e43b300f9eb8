"""Orders to Nova without keystoneauth in between: the same request, over the same connections.

For each request keystoneauth and requests build anew what never changes while a login lasts, which
costs several times what the request itself does. What is out of the ordinary goes the long way.
"""

from collections.abc import Mapping
from typing import Any

import requests
from keystoneauth1.session import Session, TCPKeepAliveAdapter
from openstack.proxy import Proxy
from pydantic_core import to_json
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from requests.utils import get_netrc_auth

from drivers.openstack.calls import Call


def widen(session: requests.Session, connections: int) -> None:
    """Keep as many connections open as there are calls at a time; requests would keep ten."""
    for scheme, adapter in list(session.adapters.items()):
        if isinstance(adapter, TCPKeepAliveAdapter):
            tls: dict[str, Any] = {
                "tls_ciphers": adapter.tls_ciphers,
                "tls_min_version": adapter.tls_min_version,
            }
            wider = TCPKeepAliveAdapter(pool_maxsize=connections, **tls)
            session.mount(scheme, wider)


class Shortcut:
    """For one login and one service. `None` from `send`: this one has to go the long way."""

    def __init__(self, adapter: Proxy, endpoint: str, microversion: str) -> None:
        self._adapter = adapter
        self._endpoint = endpoint.rstrip("/")
        self._is_plain = bool(endpoint) and _is_plain(adapter, endpoint)
        self._how = _settings(adapter, endpoint)
        self._fixed: Mapping[str, str] = {
            **_additional(adapter),
            "User-Agent": "hostler",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "OpenStack-API-Version": f"compute {microversion}",
            "X-OpenStack-Nova-API-Version": microversion,
        }

    def send(self, call: Call, timeout: tuple[float, float]) -> requests.Response | None:
        """The answer. As keystoneauth does, log in anew once where the token is refused."""
        if not self._is_plain or call.service != "compute" or not call.changes or call.params:
            return None
        response = self._once(call, timeout)
        if response.status_code == requests.codes.unauthorized and self._adapter.session.invalidate(
            self._adapter.auth
        ):
            response = self._once(call, timeout)
        # It was sent elsewhere and has changed nothing yet.
        return None if response.is_redirect else response

    def _once(self, call: Call, timeout: tuple[float, float]) -> requests.Response:
        session: requests.Session = self._adapter.session.session
        request = requests.PreparedRequest()
        request.method, request.url = call.method, self._endpoint + call.path
        request.headers = CaseInsensitiveDict({**self._fixed, **self._headers(call)})
        request.body = None if call.body is None else to_json(call.body)
        request.headers["Content-Length"] = str(len(request.body or b""))
        request.hooks = default_hooks()
        response = session.get_adapter(request.url).send(request, timeout=timeout, **self._how)
        response.content  # noqa: B018 - read here: a body that is cut short is a failure of the call
        return response

    def _headers(self, call: Call) -> dict[str, str]:
        headers = dict(self._adapter.session.get_auth_headers(self._adapter.auth) or {})
        if call.global_request_id is not None:
            headers["X-Openstack-Request-Id"] = call.global_request_id
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return headers


def _is_plain(adapter: Proxy, endpoint: str) -> bool:
    """Whether nothing is asked of the connection that only the long way does."""
    ours: Session = adapter.session
    inner: requests.Session = ours.session
    knows = get_netrc_auth(endpoint) if inner.trust_env else inner.auth
    connects = ours.auth is not None and bool(ours.auth.get_connection_params(ours))
    return not (connects or knows or ours.original_ip)


def _settings(adapter: Proxy, endpoint: str) -> dict[str, Any]:
    """Certificates and proxies, as the login's settings and the environment say."""
    ours: Session = adapter.session
    return ours.session.merge_environment_settings(endpoint, {}, None, ours.verify, ours.cert)


def _additional(adapter: Proxy) -> dict[str, str]:
    mine: Session = adapter.session
    return {**mine.additional_headers, **adapter.additional_headers}
