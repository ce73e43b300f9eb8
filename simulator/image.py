"""Glance v2: the seeded images, which anyone may list and boot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from simulator.api import ApiError, Call, Endpoint, Reply
from simulator.clock import zulu
from simulator.seed import Image, named_id

_VERSIONS = ("v2.17", "v2.15", "v2.13", "v2.9", "v2.7", "v2.5", "v2.2", "v2.0")
PAGE = 1000
DEFAULT_PAGE = 25


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image with its id and birth."""

    id: str
    spec: Image
    owner: str
    created: float


class ImageStore:
    """All images, by id; the newest first."""

    def __init__(self, images: Sequence[Image], owner: str, now: float) -> None:
        self.by_id = {
            (key := named_id("image", image.name)): StoredImage(key, image, owner, now)
            for image in images
        }


def _view(image: StoredImage) -> Mapping[str, object]:
    spec = image.spec
    digest = hashlib.sha512(image.id.encode()).hexdigest()
    return {
        **spec.properties,
        "name": spec.name, "disk_format": spec.disk_format, "container_format": "bare",
        "visibility": "public", "size": spec.size, "virtual_size": spec.size, "status": "active",
        "checksum": digest[:32], "protected": False, "min_ram": spec.min_ram,
        "min_disk": spec.min_disk, "owner": image.owner, "os_hidden": False,
        "os_hash_algo": "sha512", "os_hash_value": digest, "id": image.id,
        "created_at": zulu(image.created), "updated_at": zulu(image.created), "tags": [],
        "self": f"/v2/images/{image.id}", "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image", "stores": "file",
    }  # fmt: skip


def versions(call: Call) -> Reply:
    """GET / : 300, GET /versions : 200."""
    found = [
        {
            "id": name,
            "status": "CURRENT" if name == _VERSIONS[0] else "SUPPORTED",
            "links": [{"rel": "self", "href": f"{call.base_url}/v2/"}],
        }
        for name in _VERSIONS
    ]
    return Reply(300 if call.params.get("root") != "no" else 200, {"versions": found})


def _limit(call: Call) -> int:
    text = call.param("limit")
    if text is None:
        return DEFAULT_PAGE
    if not text.isdigit():
        raise ApiError(400, "limit param must be an integer")
    return min(int(text), PAGE)


def _matches(call: Call, image: Mapping[str, object]) -> bool:
    paging = {"limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status"}
    for name, value in call.query:
        if name in paging:
            continue
        wanted = value.removeprefix("in:").split(",") if value.startswith("in:") else [value]
        if str(image.get(name, "")) not in wanted:
            return False
    return True


def _after(
    images: Sequence[Mapping[str, object]], marker: str | None
) -> Sequence[Mapping[str, object]]:
    if marker is None:
        return images
    ids = [image["id"] for image in images]
    if marker not in ids:
        raise ApiError(404, f"No image found with ID {marker}")
    return images[ids.index(marker) + 1 :]


def list_images(call: Call) -> Reply:
    """GET /v2/images: pages of 25 unless `limit` says otherwise, filters by any field."""
    views = [_view(image) for image in call.world.images.by_id.values()]
    found = [view for view in views if _matches(call, view)]
    limit = _limit(call)
    rest = _after(found, call.param("marker"))
    shown = rest[:limit]
    query = [(name, value) for name, value in call.query if name != "marker"]
    first = "/v2/images" + ("?" + urlencode(query) if query else "")
    body: dict[str, object] = {"images": shown, "first": first, "schema": "/v2/schemas/images"}
    if shown and len(shown) == limit:
        body["next"] = "/v2/images?" + urlencode([*query, ("marker", str(shown[-1]["id"]))])
    return Reply(200, body)


def show_image(call: Call) -> Reply:
    """GET /v2/images/{id}."""
    image = call.world.images.by_id.get(call.params["id"])
    if image is None:
        raise ApiError(404, f"No image found with ID {call.params['id']}")
    return Reply(200, _view(image))


ENDPOINTS = (
    Endpoint("GET", "/", versions, open=True),
    Endpoint("GET", "/versions", versions, open=True),
    Endpoint("GET", "/v2/images", list_images),
    Endpoint("GET", "/v2/images/{id}", show_image),
)
