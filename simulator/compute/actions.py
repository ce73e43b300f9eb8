"""POST /servers/{id}/action, and what became of each: os-instance-actions."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.api import ApiError, Call, Reply, is_object
from simulator.clock import micros
from simulator.compute import requests
from simulator.compute.life import MOVES, plan_move, refusal
from simulator.compute.model import Action, Event, Power, Server
from simulator.compute.servers import check_lock, find, record
from simulator.schema import Rule, require


def act(call: Call) -> Reply:
    """POST /servers/{id}/action: one key names the action."""
    body = call.json()
    if not is_object(body) or len(body) != 1:
        raise ApiError(400, "Malformed request body")
    name = next(iter(body))
    if name in _OTHERS:
        rule, perform = _OTHERS[name]
        checked = require(rule, body) if rule is not None else body
        return perform(call, find(call, call.params["id"]), checked)
    return _move(call, _move_name(name, body))


def _move_name(name: str, body: Mapping[str, object]) -> str:
    if name == "reboot":
        given = require(requests.REBOOT, body)["reboot"]
        kind = given.get("type") if is_object(given) else None
        return f"reboot:{str(kind).upper()}"
    if name not in MOVES:
        raise ApiError(400, f"There is no such action: {name}")
    return name


def _move(call: Call, name: str) -> Reply:
    move, nova = MOVES[name], call.world.compute
    server = find(call, call.params["id"], mapped=name in {"os-start", "os-stop"})
    check_lock(call, server)
    words = refusal(server, move)
    if words is not None:
        raise ApiError(409, words)
    record(call, server, move.verb, f"compute_{move.verb}_instance")
    nova.servers.follow(server, plan_move(server, move, nova.timing, call.now))
    nova.servers.advance(call.now)
    return Reply(202)


def _lock(call: Call, server: Server, body: Mapping[str, object]) -> Reply:
    given = body["lock"]
    reason = given.get("locked_reason") if is_object(given) else None
    server.locked, server.locked_reason = True, None if reason is None else str(reason)
    return _noted(call, server, "lock")


def _unlock(call: Call, server: Server, _: Mapping[str, object]) -> Reply:
    server.locked, server.locked_reason = False, None
    return _noted(call, server, "unlock")


def _noted(call: Call, server: Server, verb: str) -> Reply:
    record(call, server, verb).events.append(
        Event(f"api_{verb}", call.now, finish=call.now, result="Success")
    )
    call.world.compute.servers.touch(server, call.now)
    return Reply(202)


def _reset_state(call: Call, server: Server, body: Mapping[str, object]) -> Reply:
    if not call.who.admin:
        words = "Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed."
        raise ApiError(403, words)
    given = body["os-resetState"]
    state = str(given.get("state")) if is_object(given) else "error"
    nova = call.world.compute
    nova.servers.follow(server, [])
    server.vm_state, server.task_state = state, ""
    if state == "active" and server.power_state == Power.NOSTATE:
        server.power_state = Power.RUNNING
    nova.servers.touch(server, call.now)
    return Reply(202)


_Other = Callable[[Call, Server, Mapping[str, object]], Reply]
_OTHERS: Mapping[str, tuple[Rule | None, _Other]] = {
    "lock": (requests.LOCK, _lock),
    "unlock": (None, _unlock),
    "os-resetState": (requests.RESET_STATE, _reset_state),
}


def _view(call: Call, server: Server, action: Action) -> dict[str, object]:
    body: dict[str, object] = {
        "action": action.action, "instance_uuid": server.id, "request_id": action.request_id,
        "user_id": action.user_id, "project_id": action.project_id,
        "start_time": micros(action.start), "message": action.message,
    }  # fmt: skip
    if call.version >= 58:
        body["updated_at"] = micros(action.updated)
    return body


def _event(call: Call, server: Server, event: Event) -> dict[str, object]:
    body: dict[str, object] = {
        "event": event.event,
        "start_time": micros(event.start),
        "finish_time": None if event.finish is None else micros(event.finish),
        "result": event.result,
    }
    if call.version >= 62:
        body["hostId"] = server.host_id
    if call.who.admin:
        body |= {"traceback": None, "host": server.host}
    return body


def list_actions(call: Call) -> Reply:
    """GET /servers/{id}/os-instance-actions: the newest first, also of a deleted server (2.21)."""
    server = find(call, call.params["id"], deleted=call.version >= 21)
    found = [_view(call, server, action) for action in reversed(server.actions)]
    return Reply(200, {"instanceActions": found})


def show_action(call: Call) -> Reply:
    """GET /servers/{id}/os-instance-actions/{request_id}: by Nova's own id, not the caller's."""
    server = find(call, call.params["id"], deleted=call.version >= 21)
    wanted = call.params["request_id"]
    for action in server.actions:
        if action.request_id == wanted:
            body = _view(call, server, action)
            if call.who.admin or call.version >= 51:
                body["events"] = [_event(call, server, e) for e in reversed(action.events)]
            return Reply(200, {"instanceAction": body})
    raise ApiError(404, f"Action {wanted} not found")
