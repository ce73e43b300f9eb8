"""Chooses what a first VM is made of from what the cloud offers."""

import time
from typing import Final

from deploy.local.client import Client, DemoError, Json

PATIENCE_SECONDS: Final = 60.0


def choose(client: Client) -> Json:
    """`flavor`, `image` and `networks` of a small VM, by name.

    Waits until sync has read the cloud's catalog; DemoError if it has not in a minute.
    """
    images = [image for image in _offered(client, "images") if image["status"] == "active"]
    flavors = sorted(_offered(client, "flavors"), key=lambda flavor: flavor["ram_mb"])
    networks = [network for network in _offered(client, "networks") if not network["external"]]
    for image in sorted(images, key=lambda image: image["min_disk_gb"]):
        for flavor in flavors:
            if _fits(image, flavor):
                joined = [network["name"] for network in networks if not network["shared"]][:1]
                return {"flavor": flavor["name"], "image": image["name"], "networks": joined}
    raise DemoError("the cloud offers no flavor that one of its active images fits into", "sync")


def _fits(image: Json, flavor: Json) -> bool:
    # A disk of 0 GB is as large as the image.
    disk = flavor["disk_gb"] == 0 or flavor["disk_gb"] >= image["min_disk_gb"]
    return bool(disk and flavor["ram_mb"] >= image["min_ram_mb"])


def _offered(client: Client, what: str) -> list[Json]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if items := client.items(f"/v1/{what}?limit=200"):
            return items
        time.sleep(0.2)
    raise DemoError(f"no {what} were read from the cloud in {PATIENCE_SECONDS:.0f} s", "sync")
