"""The witness: sees to it that every write, and every refusal, is told to the audit.

It stands at the door, so that no route can forget it. What a route says itself carries who, from
where and with what (`Visit.provenance`); what is refused, or carried out without a word, the
witness tells before the answer is sent. Of floods see `floods`.
"""

import asyncio
import logging
from datetime import datetime
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import Scope

from chassis.database import Database
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.origin import Provenance
from chassis.outbox import say
from contracts.access.events import Done, Flooded, Overrode, Refused
from contracts.message import Body, Message
from services.gateway.floods import Counted, Floods, Whom
from services.gateway.identity.addresses import counted_as

LOG = logging.getLogger(__name__)
SOURCE = "hostler/gateway"
NOBODY = "anonymous"
"""The actor of a request whose credential is none, or none that is known."""
PATIENCE_SECONDS = 2.0
FLUSH_SECONDS = 5.0
_LONGEST = 200
_SAFE = {"GET", "HEAD", "OPTIONS"}
_REFUSED = 400
_NOT_FOUND = 404
_TOLD_OF_ALL = {401, 403, 404, 429}
"""Refusals that are told of reads, too."""
_REFUSALS = {"refused", "failed", "reused"}
"""The verbs of messages that tell of a refusal themselves."""
_OWN = ("/v1/me", "/v1/permissions", "/v1/auth", "/v1/audit")
_OVERRIDE = "admin.override.v1"
"""Said before the request is carried out, so that it tells nothing of what was done."""
_OPEN_PREFIX = 11
_KINDS = (("x-api-key", "key"), ("authorization", "token"), ("x-auth-token", "keystone"))


class Visit:
    """One request as the audit knows it, the more the further it has come."""

    def __init__(self, scope: Scope) -> None:
        self.said: list[str] = []
        self._scope = scope
        self._state: dict[str, Any] = scope["state"]

    @property
    def caller(self) -> Caller | None:
        """Who is asking, once that is known."""
        return cast("Caller | None", self._state.get("caller"))

    @property
    def request_id(self) -> str:
        """`req-…`."""
        return str(self._state["request_id"])

    @property
    def code(self) -> str:
        """Of the problem that is the answer."""
        return str(self._state.get("problem", ""))

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing."""
        return self._scope["method"] in _SAFE

    @property
    def provenance(self) -> Provenance:
        """Where it came from, with what, for what."""
        headers = Headers(scope=self._scope)
        return Provenance(
            address=self._scope["client"][0] if self._scope.get("client") else "",
            client=shown(headers.get("user-agent", "")),
            credential=_credential(self.caller, headers),
            permission=str(self._state.get("permission", "")),
        )

    @property
    def route(self) -> str:
        """The template of its path; empty where there is none."""
        return str(getattr(self._scope.get("route"), "path", ""))

    def described(self, status: int) -> dict[str, Any]:
        """What stands in each message about it."""
        named: dict[str, Any] = self._scope.get("path_params") or {}
        return {
            "method": shown(self._scope["method"]),
            "path": shown(self._scope["path"]),
            "route": self.route,
            "status": status,
            "target": {name: shown(str(value)) for name, value in named.items()},
        }


def shown(text: str) -> str:
    """What anybody may have written, so that it can be kept: printable and not long."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST])


def _credential(caller: Caller | None, headers: Headers) -> str:
    """Kind and id; of one that was not checked, or is unknown, the kind and what is no secret."""
    if caller is not None and caller.key_id is not None:
        return f"key:{caller.key_id}"
    if caller is not None and caller.session_id is not None:
        return f"session:{caller.session_id}"
    if caller is not None and caller.service_account_id is not None:
        return f"service_account:{caller.service_account_id}"
    if caller is not None:
        return "keystone"
    for header, kind in _KINDS:
        if said := headers.get(header):
            named = f"key:{_open_part(said)}" if kind == "key" else kind
            return f"unverified:{named}"
    return ""


def _open_part(key: str) -> str:
    """`hk_` and eight characters, if a key of ours may begin so: they find it, and open nothing."""
    prefix = key[:_OPEN_PREFIX]
    return prefix if prefix.startswith("hk_") and prefix[3:].isalnum() and key[11:12] == "_" else ""


class Witness:
    """Tells of what one gateway was asked."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.floods = Floods()

    async def answered(self, visit: Visit, status: int) -> None:
        """Tell what has to be told of a request that is about to be answered so."""
        data = _due(visit, status)
        if data is None:
            return
        now, whom = self.clock(), _whom(visit)
        code = visit.code or str(status)
        # What a known caller has changed is told whatever the number: their rates bound it.
        counts = isinstance(data, Refused) or visit.caller is None
        if counts and not self.floods.admits(whom, code, now):
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._say(_message(visit, data, now))
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer stands
            LOG.warning("the audit is told later that a request was answered: %s", error)
            self.floods.count(whom, code, now)

    async def run(self) -> None:
        """Tell of floods, for ever; and of those under way, at the end."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            await self.flush(all_of_them=True)

    async def flush(self, *, all_of_them: bool = False) -> None:
        """Tell what was only counted, of windows that are over or of all."""
        now = self.clock()
        over = self.floods.over(now, all_of_them=all_of_them)
        if not over:
            return
        told = [(whom, each.codes.copy()) for whom, each in over]
        await self._say(*[_flooded(whom, each, now) for whom, each in over])
        self.floods.settled(told)

    async def _say(self, *messages: Message[Body]) -> None:
        async with self.database.session() as session:
            await say(session, *messages)


def _due(visit: Visit, status: int) -> Body | None:
    """What the witness has to say of a request; None: nothing, or it is said already."""
    if status >= _REFUSED:
        told = any(each.split(".")[1] in _REFUSALS for each in visit.said)
        return None if told or not _is_told(visit, status) else _refused(visit, status)
    if visit.is_safe:
        return Overrode(**visit.described(status)) if _sees_all(visit) else None
    return (
        None if any(each != _OVERRIDE for each in visit.said) else Done(**visit.described(status))
    )


def _is_told(visit: Visit, status: int) -> bool:
    """All refusals of writes; of reads not what nobody looks for where nothing is."""
    if not visit.is_safe:
        return True
    is_noise = status == _NOT_FOUND and not visit.route and visit.caller is None
    return status in _TOLD_OF_ALL and not is_noise


def _sees_all(visit: Visit) -> bool:
    """Whether an admin of the platform reads what is others'; in a project, `admin.override` tells."""
    caller = visit.caller
    if caller is None or not caller.is_platform_admin or caller.project_id:
        return False
    return not visit.route.startswith(_OWN)


def _refused(visit: Visit, status: int) -> Refused:
    here = visit.provenance
    return Refused(
        **visit.described(status),
        permission=here.permission,
        address=here.address or None,
        code=visit.code or None,
    )


def _whom(visit: Visit) -> Whom:
    here, caller = visit.provenance, visit.caller
    # An unknown credential is anything: only where it comes from tells such callers apart.
    return Whom(
        caller.project_id if caller else "",
        caller.actor if caller else NOBODY,
        here.credential if caller else "",
        counted_as(here.address),
    )


def _message(visit: Visit, data: Body, now: datetime) -> Message[Body]:
    caller, target = visit.caller, [*visit.described(0)["target"].values()]
    actor = caller.actor if caller else NOBODY
    return Message[Body](
        id=new_id(),
        source=SOURCE,
        time=now,
        subject=target[0] if target else actor,
        project_id=caller.project_id if caller else "",
        actor=actor,
        request_id=visit.request_id,
        data=data,
    )


def _flooded(whom: Whom, counted: Counted, now: datetime) -> Message[Body]:
    return Message[Body](
        id=new_id(),
        source=SOURCE,
        time=now,
        subject=whom.actor,
        project_id=whom.project_id,
        actor=whom.actor,
        address=whom.address,
        credential=whom.credential,
        data=Flooded(
            count=counted.codes.total(),
            codes=dict(sorted(counted.codes.items())),
            since=counted.since,
            until=counted.until,
        ),
    )
