"""One request to the cloud and its answer, as plain values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from drivers.governor import Lane

Service = Literal["compute", "image", "network", "volume"]

_GLOBAL_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """One HTTP request. `template` is the path with `{names}` that `ids` fills in.

    `own` adds the account's project to the filters, where a list shows operators everybody's.
    """

    service: Service
    method: Literal["GET", "POST", "PUT", "DELETE"]
    template: str
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    body: object = None
    request_id: str = ""
    lane: Lane = Lane.COMMAND
    own: bool = False

    @property
    def changes(self) -> bool:
        """Whether it may change something in the cloud."""
        return self.method != "GET"

    @property
    def path(self) -> str:
        """The path with the ids in their places."""
        return self.template.format_map({name: quote(i, safe="") for name, i in self.ids.items()})

    @property
    def global_request_id(self) -> str | None:
        """The request id in the one form that OpenStack takes from outside, `req-UUID`, or None."""
        return self.request_id if _GLOBAL_REQUEST_ID.fullmatch(self.request_id) else None


@dataclass(frozen=True)
class Answer:
    """What came back. Times are the cloud's clock, UTC, whole seconds.

    `sent_at` is never later than the request was sent, `taken_at` is when the answer was made, less
    than a second early. So what was read at `sent_at` > another call's `taken_at` was read after it.
    """

    status: int
    content: bytes
    headers: Mapping[str, str]
    sent_at: datetime
    taken_at: datetime

    @property
    def ok(self) -> bool:
        """Whether the cloud did or gave what was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP

    @property
    def cloud_request_id(self) -> str | None:
        """The cloud's own id of the request."""
        return self.headers.get("x-openstack-request-id") or self.headers.get(
            "x-compute-request-id"
        )
