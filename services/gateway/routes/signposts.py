"""Routers that are passed by quickly: most requests are for another one."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope


class Signposted(APIRouter):
    """Looks through its routes only for paths that begin as one of them does.

    `documented`: what the OpenAPI document says of each (`openapi_extra`).

    FastAPI asks each router in turn, and each tries all its routes: for the last of thirty that is
    more than all else that is done for a request.
    """

    def __init__(self, *, documented: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self._documented = documented
        self._begins: tuple[str, ...] = ()
        self._known = 0

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """As the base class does, with what the OpenAPI document says of all of them."""
        options["openapi_extra"] = {**self._documented, **(options.get("openapi_extra") or {})}
        super().add_api_route(path, endpoint, **options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the base class says; NONE at once where no route of this router can match."""
        return super().matches(scope) if self.is_near(scope) else (Match.NONE, {})

    def is_near(self, scope: Scope) -> bool:
        """Whether the path begins as that of a route does."""
        if len(self.routes) != self._known:
            self._begins, self._known = self._beginnings(), len(self.routes)
        # Under a root path the scope's path begins with that.
        return bool(scope.get("root_path")) or scope["path"].startswith(self._begins)

    def _beginnings(self) -> tuple[str, ...]:
        """What stands before the first parameter of each path; one that begins another says it all."""
        paths = [str(getattr(route, "path", "")) for route in self.routes]
        fixed = sorted({path.partition("{")[0] for path in paths})
        first: list[str] = []
        for each in fixed:
            if not first or not each.startswith(first[-1]):
                first.append(each)
        return tuple(first)
