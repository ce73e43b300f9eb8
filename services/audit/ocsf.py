"""Entries as events of the Open Cybersecurity Schema Framework, version 1.1.0, as SIEMs take them.

Three classes: API Activity (6003), Account Change (3001) for what happens to users, Authentication
(3002) for their sessions. What has no place there stands under `unmapped.hostler`, with the place and
hash by which the entry is found in the ledger. Times are milliseconds since 1970.
"""

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping

from services.audit.outcomes import Outcome, outcome_of

VERSION = "1.1.0"
PRODUCT = {"name": "Hostler", "vendor_name": "Hostler"}
Json = dict[str, Any]
_OTHER = 99


class _Class(NamedTuple):
    uid: int
    name: str
    category_uid: int
    category: str
    activities: dict[int, str]


_API = _Class(
    6003,
    "API Activity",
    6,
    "Application Activity",
    {1: "Create", 2: "Read", 3: "Update", 4: "Delete"},
)
_ACCOUNT = _Class(
    3001,
    "Account Change",
    3,
    "Identity & Access Management",
    {
        1: "Create",
        2: "Enable",
        3: "Password Change",
        4: "Password Reset",
        5: "Disable",
        6: "Delete",
        7: "Attach Policy",
        8: "Detach Policy",
        9: "Lock",
        10: "MFA Factor Enable",
        11: "MFA Factor Disable",
    },
)
_LOGIN = _Class(
    3002, "Authentication", 3, "Identity & Access Management", {1: "Logon", 2: "Logoff"}
)
_ACCOUNTS = {"user", "password", "factor", "factors", "recovery_codes", "service_account"}
_LOGINS = {"session", "login", "refresh", "client", "keystone", "recovery_code"}
_METHODS = {"GET": 2, "HEAD": 2, "POST": 1, "PUT": 3, "PATCH": 3, "DELETE": 4}
_VERBS = {
    1: {"create", "created", "import", "imported", "made", "registered", "invited"},
    2: {"sync", "observed"},
    4: {"delete", "deleted", "revoked", "removed"},
}
_ACCOUNT_ACTIVITY = {
    "user.invited": 1,
    "user.registered": 1,
    "user.activated": 2,
    "user.locked": 9,
    "factor.enrolled": 10,
    "factor.removed": 11,
    "factors.reset": 11,
    "service_account.made": 1,
    "service_account.locked": 9,
    "service_account.removed": 6,
}
_LOGIN_ACTIVITY = {"session.opened": 1, "login.failed": 1, "session.closed": 2}
_STATES = {"active": 2, "disabled": 5, "locked": 9}
_STATUS = {
    Outcome.DONE: (1, "Success"),
    Outcome.SUCCEEDED: (1, "Success"),
    Outcome.REFUSED: (2, "Failure"),
    Outcome.FAILED: (2, "Failure"),
    Outcome.TIMEOUT: (2, "Failure"),
    Outcome.CANCELLED: (_OTHER, "Cancelled"),
    Outcome.INTENDED: (_OTHER, "Accepted"),
}
_SEVERITIES = {
    "refresh.reused": (4, "High"),
    "user.locked": (3, "Medium"),
    "access.flooded": (3, "Medium"),
    "operation.timeout": (3, "Medium"),
    "access.overrode": (2, "Low"),
}


def event(row: RowMapping) -> Json:
    """The event that an entry is; exactly one for each."""
    data: Json = json.loads(row["data"])
    said = row["type"].rpartition(".")[0]
    kind, activity, own = _classified(said, data, row)
    outcome = outcome_of(row["type"])
    status_id, status = _STATUS[outcome] if outcome else (0, "Unknown")
    severity_id, severity = _severity(said, outcome)
    made: Json = {
        "activity_id": activity,
        "activity_name": kind.activities.get(activity, said),
        "category_name": kind.category,
        "category_uid": kind.category_uid,
        "class_name": kind.name,
        "class_uid": kind.uid,
        "metadata": _metadata(row),
        "severity": severity,
        "severity_id": severity_id,
        "status": status,
        "status_id": status_id,
        "time": _milliseconds(row["time"]),
        "type_name": f"{kind.name}: {kind.activities.get(activity, 'Other')}",
        "type_uid": kind.uid * 100 + activity,
        "actor": _actor(row),
        "src_endpoint": {"ip": row["address"]} if row["address"] else {"svc_name": row["source"]},
        **own,
        **_why(data),
        "unmapped": {
            "hostler": {
                "data": data,
                "chain": row["chain"],
                "position": row["position"],
                "hash": row["hash"],
            }
        },
    }
    if row["account"]:
        made["cloud"] = {"provider": "OpenStack", "account": {"uid": row["account"]}}
        made["metadata"]["profiles"] = ["cloud"]
    return made


def _classified(said: str, data: Json, row: RowMapping) -> tuple[_Class, int, Json]:
    """Its class, its activity, and what that class has of its own."""
    noun, _, verb = said.partition(".")
    if noun in _ACCOUNTS:
        return _ACCOUNT, _account_activity(said, data), {"user": _subject(row, data)}
    if noun in _LOGINS:
        login: Json = {"user": _subject(row, data), "service": {"name": "Hostler"}}
        if session := data.get("session_id"):
            login["session"] = {"uid": session}
        return _LOGIN, _LOGIN_ACTIVITY.get(said, _OTHER), login
    method = data.get("method") if noun == "access" else None
    if noun == "access":
        activity = _METHODS.get(str(method), _OTHER)
    else:
        activity = next((each for each, verbs in _VERBS.items() if verb in verbs), 3)
    return _API, activity, _call(said, data, row)


def _account_activity(said: str, data: Json) -> int:
    if said == "password.set":
        return 4 if data.get("by") == "link" else 3
    if said == "user.changed":
        new: Json = data.get("new") or {}
        if "state" in new:
            return _STATES.get(str(new["state"]), _OTHER)
        if "role" in new:
            return 7 if new["role"] else 8
    return _ACCOUNT_ACTIVITY.get(said, _OTHER)


def _subject(row: RowMapping, data: Json) -> Json:
    """The user that it is about; of one who is not known, what they called themselves, hashed."""
    if user := data.get("user_id"):
        return {"uid": str(user)}
    return {"name": str(data.get("alias") or row["subject"])}


def _call(said: str, data: Json, row: RowMapping) -> Json:
    call: Json = {"operation": row["permission"] or said, "service": {"name": row["source"]}}
    if row["request_id"]:
        call["request"] = {"uid": row["request_id"]}
    if data.get("status"):
        call["response"] = {"code": data["status"]}
    made: Json = {"api": call, "resources": [{"uid": row["subject"]}]}
    if data.get("method"):
        request: Json = {"http_method": data["method"], "url": {"path": data.get("path", "")}}
        made["http_request"] = request | ({"user_agent": row["client"]} if row["client"] else {})
    return made


def _actor(row: RowMapping) -> Json:
    kind, _, rest = row["actor"].partition(":")
    if not rest:
        return {"invoked_by": row["actor"]}
    user: Json = {"name": row["actor"]} | ({"uid": rest} if kind == "user" else {})
    if row["credential"]:
        user["credential_uid"] = row["credential"]
    actor: Json = {"user": user}
    if row["credential"].startswith("session:"):
        actor["session"] = {"uid": row["credential"].removeprefix("session:")}
    return actor


def _metadata(row: RowMapping) -> Json:
    made: Json = {
        "version": VERSION,
        "product": PRODUCT,
        "uid": str(row["message_id"]),
        "event_code": row["type"],
        "log_name": row["chain"],
        "sequence": row["position"],
        "logged_time": _milliseconds(row["recorded_at"]),
    }
    together = row["operation_id"] or row["request_id"]
    return made | ({"correlation_uid": str(together)} if together else {})


def _why(data: Json) -> Json:
    error: Json = data["error"] if isinstance(data.get("error"), dict) else data
    found = {"status_code": error.get("code"), "status_detail": error.get("detail")}
    return {name: str(value) for name, value in found.items() if value}


def _severity(said: str, outcome: Outcome | None) -> tuple[int, str]:
    if said in _SEVERITIES:
        return _SEVERITIES[said]
    refused = outcome in {Outcome.REFUSED, Outcome.FAILED}
    return (2, "Low") if refused else (1, "Informational")


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
