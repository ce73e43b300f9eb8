"""Nova's microversions: which there are, which one a request asks for, and the version documents."""

from __future__ import annotations

import re
from collections.abc import Mapping

from simulator.api import ApiError, Call, Reply

LOWEST, HIGHEST = 1, 103  # 2.1 to 2.103, as Nova 33 (2026.1)
_MEDIA = "application/vnd.openstack.compute+json;version=2.1"


def asked_for(headers: Mapping[str, str]) -> str:
    """The version a request's headers name: `2.1` where they name none."""
    for entry in headers.get("openstack-api-version", "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service == "compute":
            return version.strip()
    return headers.get("x-openstack-nova-api-version", "2.1").strip()


def minor_of(version: str) -> int:
    """The minor number of a version text. ApiError 400 if it is none, 406 if it is not spoken."""
    if version == "latest":
        return HIGHEST
    found = re.fullmatch(r"([1-9]\d*)\.([1-9]\d*|0)", version)
    if found is None:
        raise ApiError(
            400,
            f"API Version String {version} is of invalid format. "
            "Must be of format MajorNum.MinorNum.",
        )
    major, minor = int(found[1]), int(found[2])
    if major != 2 or not LOWEST <= minor <= HIGHEST:  # noqa: PLR2004
        raise ApiError(
            406,
            f"Version {version} is not supported by the API. "
            f"Minimum is 2.{LOWEST} and maximum is 2.{HIGHEST}.",
        )
    return minor


def need(call: Call, minor: int) -> None:
    """What came with a later microversion does not exist before: 404."""
    if call.version < minor:
        raise ApiError(404, "The resource could not be found.")


def versions(call: Call) -> Reply:
    """GET / ."""
    old = {
        "id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": "",
        "updated": "2025-07-04T12:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/v2/"}],
    }  # fmt: skip
    new = {key: value for key, value in _version(call).items() if key != "media-types"}
    new["links"] = [{"rel": "self", "href": f"{call.base_url}/v2.1/"}]
    return Reply(200, {"versions": [old, new]})


def version(call: Call) -> Reply:
    """GET /v2.1."""
    return Reply(200, {"version": _version(call)})


def _version(call: Call) -> dict[str, object]:
    return {
        "id": "v2.1", "status": "CURRENT", "version": f"2.{HIGHEST}", "min_version": f"2.{LOWEST}",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/v2.1/"},
                  {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}],
        "media-types": [{"base": "application/json", "type": _MEDIA}],
    }  # fmt: skip
