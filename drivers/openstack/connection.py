"""One account's login and endpoints, made at the first use; blocking, for worker threads."""

import os
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import NamedTuple

import openstack
import requests
from keystoneauth1 import discover
from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack import exceptions as sdk_errors
from openstack.connection import Connection as Sdk
from openstack.proxy import Proxy

from chassis.errors import HostlerError, Retry, Terminal
from contracts.errors import ErrorCode
from drivers.openstack import errors, telemetry
from drivers.openstack.calls import Answer, Call, Service
from drivers.openstack.clock import Clock
from drivers.openstack.settings import OpenStackSettings
from drivers.openstack.shortcut import Shortcut, widen

MICROVERSION = (2, 79)
"""Nova's, for every call. Train (2019) is the oldest release that has it. What needs it: tags in
the request that creates (2.52), request ids from outside (2.46), a flavor by its name (2.47), the
events of an action for all users (2.51), servers of a cell that is down (2.69)."""
_SPOKEN = discover.version_to_string(MICROVERSION)


_SPOKEN_OF = {"http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle", "curl_ca_bundle"}
"""What requests looks for in the environment, again for each call: not if none of it is there."""


class _Opened(NamedTuple):
    """A service's adapter and where it is: keystoneauth would read the catalog for every call."""

    adapter: Proxy
    endpoint: str
    shortcut: Shortcut


class Connection:
    """Sends calls. Safe to share between threads; a refused login is forgotten and read anew."""

    def __init__(self, account: str, settings: OpenStackSettings) -> None:
        self._account = account
        self._settings = settings
        self._clock = Clock()
        self._lock = Lock()
        self._sdk: Sdk | None = None
        self._services: dict[Service, _Opened] = {}

    def send(self, call: Call) -> Answer:
        """The cloud's answer, whatever its status; Retry or Terminal where there is none."""
        opened = self._prepared(call.service, changes=call.changes)
        begun = monotonic()
        try:
            response = self._request(opened, call)
        except Exception as error:
            raise errors.failure(error, sent=True, changes=call.changes) or error from error
        answer = self._answer(response, timedelta(seconds=monotonic() - begun))
        if answer.status == requests.codes.unauthorized:
            self.close()
        return answer

    def project(self) -> str:
        """The id of the project that the login is for; Retry or Terminal where there is none."""
        found = self._prepared("compute").adapter.get_project_id()
        if found is None:
            raise Terminal(ErrorCode.CLOUD_REFUSED, "The account's login is for no project.")
        return str(found)

    def close(self) -> None:
        """Forget the login; the next call begins with clouds.yaml."""
        with self._lock:
            made, self._sdk, self._services = self._sdk, None, {}
        if made is not None:
            made.session.session.close()

    def _prepared(self, service: Service, *, changes: bool = False) -> _Opened:
        """The service's adapter with a token that is good: what fails up to here was not sent."""
        try:
            opened = self._opened(service)
            opened.adapter.get_token()
            telemetry.sent_to(opened.endpoint)
        except sdk_errors.ServiceDisabledException as error:
            words = f"The account has no {service} service."
            raise Terminal(ErrorCode.UNSUPPORTED, words) from error
        except HostlerError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise errors.failure(error, sent=False, changes=changes) or error from error
        return opened

    def _opened(self, service: Service) -> _Opened:
        with self._lock:
            if service not in self._services:
                sdk = self._sdk = self._sdk or self._connect()
                adapter = _adapter(sdk, service)
                endpoint = str(adapter.get_endpoint() or "")
                shortcut = Shortcut(adapter, endpoint, _SPOKEN)
                self._services[service] = _Opened(adapter, endpoint, shortcut)
            return self._services[service]

    def _connect(self) -> Sdk:
        sdk = openstack.connect(
            cloud=self._account, app_name="hostler", api_timeout=self._settings.read_timeout
        )
        if not _SPOKEN_OF & {name.lower() for name in os.environ}:
            sdk.session.session.trust_env = False
        widen(sdk.session.session, self._settings.threads)
        auth = sdk.session.auth
        if isinstance(auth, BaseIdentityPlugin):
            auth.MIN_TOKEN_LIFE_SECONDS = int(self._settings.token_margin.total_seconds())
            self._learn(auth, sdk)
        return sdk

    def _learn(self, auth: BaseIdentityPlugin, sdk: Sdk) -> None:
        """Log in, if the login is not an older one's, and read the cloud's clock."""
        if auth.get_auth_state() is None:
            issued = auth.get_access(sdk.session).issued
            if issued is not None:
                self._clock.learn(issued, datetime.now(UTC))

    def _request(self, opened: _Opened, call: Call) -> requests.Response:
        """One request and no retries: keystoneauth would repeat a POST as well as a GET."""
        timeout = self._settings.connect_timeout, self._settings.read_timeout
        if (response := opened.shortcut.send(call, timeout)) is not None:
            return response
        return opened.adapter.request(
            call.path,
            call.method,
            endpoint_override=opened.endpoint or None,
            raise_exc=False,
            connect_retries=0,
            status_code_retries=0,
            global_request_id=call.global_request_id,
            params={
                **call.params,
                **({"project_id": opened.adapter.get_project_id()} if call.own else {}),
            },
            json=call.body,
            microversion=_SPOKEN if call.service == "compute" else None,
            timeout=timeout,
            skip_cache=True,
            log=False,  # bodies may hold user data
        )

    def _answer(self, response: requests.Response, took: timedelta) -> Answer:
        now = self._clock.read(response.headers.get("Date"))
        return Answer(
            status=response.status_code,
            content=response.content,
            headers=response.headers,
            sent_at=(now - took).replace(microsecond=0),
            taken_at=now.replace(microsecond=0),
        )


def _adapter(sdk: Sdk, service: Service) -> Proxy:
    match service:
        case "compute":
            check_microversion(sdk.compute)
            return sdk.compute
        case "image":
            return sdk.image
        case "network":
            return sdk.network
        case "volume":
            return sdk.block_storage


def check_microversion(compute: Proxy) -> None:
    """Terminal if the cloud's Nova cannot speak our microversion; Retry if it does not say."""
    data = compute.get_endpoint_data()
    if data is None or data.max_microversion is None:
        raise Retry(ErrorCode.CLOUD_UNAVAILABLE, "Nova does not say which API versions it has.")
    lowest, highest = data.min_microversion, data.max_microversion
    if not discover.version_between(lowest, highest, MICROVERSION):
        raise Terminal(
            ErrorCode.UNSUPPORTED,
            f"Hostler speaks Nova's API 2.79 (OpenStack Train, 2019); this cloud's goes from "
            f"{discover.version_to_string(lowest or (0,))} to "
            f"{discover.version_to_string(highest)}.",
        )
