"""What a project has chosen for all of its members."""

from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field

from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from contracts.access.permission import ProjectChanged
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Message
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.locks import exclusively
from services.gateway.policy.projects import Chosen, choose, chosen
from services.gateway.policy.rules import MANAGES
from services.gateway.routes.guard import guarded

ROUTER = guarded("/project", "project")
Reader = Annotated[Caller, Depends(permit(Role.VIEWER, "project.read"))]
Manager = Annotated[Caller, Depends(permit(Role.ADMIN, MANAGES))]
_OWNER_ONLY = (
    "Members see and command their own VMs and those shared with them; admins all of them."
)


class Project(BaseModel):
    """The project that the caller acts in."""

    project_id: str
    account: str = Field(description="The cloud account that its VMs live in.")
    owner_only: bool = Field(description=_OWNER_ONLY)


class ChangeProject(BaseModel):
    """What is to be otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner_only: bool = Field(description=_OWNER_ONLY)


@ROUTER.get("", responses=documents.problems())
async def show_project(gateway: Here, caller: Reader) -> Project:
    """Show what the project has chosen."""
    async with gateway.database.reading() as session:
        stands = await chosen(session, caller.project_id)
    return _shown(gateway, caller, stands)


@ROUTER.patch(
    "",
    responses=documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ChangeProject),
)
async def change_project(
    request_id: RequestId,
    gateway: Here,
    caller: Manager,
    wanted: Annotated[ChangeProject, Depends(body(ChangeProject))],
) -> Project:
    """Change it. Every gateway knows within five seconds."""
    new, now = Chosen(owner_only=wanted.owner_only), gateway.clock()
    async with gateway.database.session() as session:
        await exclusively(session, f"project.{caller.project_id}")
        old = await chosen(session, caller.project_id)
        if old != new:
            await choose(session, caller.project_id, new, caller.actor, now)
            changed = ProjectChanged(
                old={"owner_only": old.owner_only}, new={"owner_only": new.owner_only}
            )
            message = Message(
                id=new_id(),
                source="hostler/gateway",
                time=now,
                subject=caller.project_id,
                project_id=caller.project_id,
                actor=caller.actor,
                request_id=request_id,
                override=caller.override,
                data=changed,
            )
            await say(session, message)
    gateway.projects.forget()
    return _shown(gateway, caller, new)


def _shown(gateway: Here, caller: Caller, stands: Chosen) -> Project:
    account = gateway.account(caller.project_id)
    return Project(project_id=caller.project_id, account=account, owner_only=stands.owner_only)
