"""Where to go from a page."""

from fastapi import Request
from pydantic import BaseModel, Field


class Links(BaseModel):
    """Where to go from a page."""

    self: str
    next: str | None = Field(description="The next page; null on the last one.")


def links(request: Request, marker: str | None) -> Links:
    """The links of a page; `marker`: where the next one begins."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if marker is None:
        return Links(self=here, next=None)
    after = request.url.include_query_params(marker=marker)
    return Links(self=here, next=f"{after.path}?{after.query}")
