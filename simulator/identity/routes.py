"""The part of Keystone v3 that clients need: log in, look at a token, revoke it, find the services."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping

from simulator.api import ApiError, Call, Endpoint, Reply, is_array, is_object
from simulator.identity.catalog import catalog, token_body
from simulator.identity.tokens import AppCredential, Token, User
from simulator.seed import Project

_MEDIA = "application/vnd.openstack.identity-v3+json"
_MALFORMED = (
    "The server could not comply with the request since it is either malformed or otherwise "
    "incorrect. The client is assumed to be in error."
)
_UNAUTHORIZED = "The request you have made requires authentication."


def _version(call: Call) -> Mapping[str, object]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/v3/"}],
        "media-types": [{"base": "application/json", "type": _MEDIA}],
    }


def versions(call: Call) -> Reply:
    """GET / : 300, as Keystone has it."""
    location = {"Location": f"{call.base_url}/v3/"}
    return Reply(300, {"versions": {"values": [_version(call)]}}, location)


def version(call: Call) -> Reply:
    """GET /v3."""
    return Reply(200, {"version": _version(call)})


def _part(value: object, name: str) -> dict[str, object]:
    found = value.get(name) if is_object(value) else None
    if not is_object(found):
        raise ApiError(400, f"Expecting to find {name} in request body. {_MALFORMED}")
    return found


def _word(value: Mapping[str, object], *names: str) -> str:
    for name in names:
        found = value.get(name)
        if isinstance(found, str):
            return found
    return ""


def _by_password(call: Call, identity: Mapping[str, object]) -> tuple[User, str]:
    given = _part(_part(identity, "password"), "user")
    user = call.world.identity.user(_word(given, "id", "name"))
    if user is None or given.get("password") != call.world.password:
        raise ApiError(401, _UNAUTHORIZED)
    return user, ""


def _by_token(call: Call, identity: Mapping[str, object]) -> tuple[User, str]:
    token = call.world.identity.valid(_word(_part(identity, "token"), "id"), call.now)
    if token is None:
        raise ApiError(401, _UNAUTHORIZED)
    return User(token.user_id, token.user_name), token.project_id


def _by_credential(call: Call, identity: Mapping[str, object]) -> tuple[User, str]:
    given = _part(identity, "application_credential")
    name = _word(given, "id", "name")
    for found in call.world.identity.credentials.values():
        secret = secrets.compare_digest(found.secret, _word(given, "secret"))
        if name in {found.id, found.name} and secret:
            return call.world.identity.users[found.user_id], found.project_id
    raise ApiError(401, _UNAUTHORIZED)


_METHODS = {
    "password": _by_password,
    "token": _by_token,
    "application_credential": _by_credential,
}


def _scope(call: Call, auth: Mapping[str, object], user: User, default: str) -> str:
    scope = auth.get("scope")
    if not is_object(scope) or "project" not in scope:
        return default
    store = call.world.identity
    project_id = store.project_id(_word(_part(scope, "project"), "id", "name"))
    if project_id is None or not store.may_enter(user, project_id):
        raise ApiError(401, _UNAUTHORIZED)
    return project_id


def log_in(call: Call) -> Reply:
    """POST /v3/auth/tokens."""
    auth = _part(call.json(), "auth")
    identity = _part(auth, "identity")
    methods = identity.get("methods")
    method = methods[0] if is_array(methods) and methods else None
    if not isinstance(method, str) or method not in _METHODS:
        raise ApiError(401, f"Attempted to authenticate with an unsupported method: {method}.")
    user, project_id = _METHODS[method](call, identity)
    scope = _scope(call, auth, user, project_id)
    token = call.world.identity.issue(user, scope, call.now, method)
    return Reply(201, token_body(token, call.root_url), {"X-Subject-Token": token.id})


def _subject(call: Call) -> Token:
    token = call.world.identity.valid(call.headers.get("x-subject-token", ""), call.now)
    if token is None:
        raise ApiError(404, "Could not recognize Fernet token")
    return token


def look_at_token(call: Call) -> Reply:
    """GET and HEAD /v3/auth/tokens: of oneself, or of anyone for operators."""
    token = _subject(call)
    if not call.who.admin and call.who.user_id != token.user_id:
        words = "You are not authorized to perform the requested action: identity:validate_token."
        raise ApiError(403, words)
    return Reply(200, token_body(token, call.root_url), {"X-Subject-Token": token.id})


def revoke_token(call: Call) -> Reply:
    """DELETE /v3/auth/tokens."""
    call.world.identity.revoke(_subject(call).id)
    return Reply(204)


def show_catalog(call: Call) -> Reply:
    """GET /v3/auth/catalog."""
    return Reply(200, {"catalog": catalog(call.root_url), "links": _links(call, "auth/catalog")})


def _links(call: Call, path: str) -> Mapping[str, object]:
    return {"next": None, "self": f"{call.base_url}/v3/{path}", "previous": None}


def _project(call: Call, project_id: str, project: Project) -> Mapping[str, object]:
    return {
        "id": project_id, "name": project.name, "domain_id": "default",
        "description": project.description, "enabled": True, "parent_id": "default",
        "is_domain": False, "tags": [], "options": {},
        "links": {"self": f"{call.base_url}/v3/projects/{project_id}"},
    }  # fmt: skip


def my_projects(call: Call) -> Reply:
    """GET /v3/auth/projects."""
    store = call.world.identity
    user = User(call.who.user_id, call.who.user_name)
    found = [_project(call, i, p) for i, p in store.projects.items() if store.may_enter(user, i)]
    return Reply(200, {"projects": found, "links": _links(call, "auth/projects")})


def list_projects(call: Call) -> Reply:
    """GET /v3/projects, for operators."""
    if not call.who.admin:
        words = "You are not authorized to perform the requested action: identity:list_projects."
        raise ApiError(403, words)
    name = call.param("name")
    projects = call.world.identity.projects.items()
    found = [_project(call, i, p) for i, p in projects if name in {None, p.name}]
    return Reply(200, {"projects": found, "links": _links(call, "projects")})


def show_project(call: Call) -> Reply:
    """GET /v3/projects/{id}."""
    project_id = call.params["id"]
    project = call.world.identity.projects.get(project_id)
    if project is None or not (call.who.admin or project_id == call.who.project_id):
        raise ApiError(404, f"Could not find project: {project_id}.")
    return Reply(200, {"project": _project(call, project_id, project)})


def show_user(call: Call) -> Reply:
    """GET /v3/users/{id}: oneself, or anyone for operators."""
    user = call.world.identity.users.get(call.params["id"])
    if user is None or not (call.who.admin or user.id == call.who.user_id):
        raise ApiError(404, f"Could not find user: {call.params['id']}.")
    body = {
        "id": user.id, "name": user.name, "domain_id": "default", "enabled": True,
        "password_expires_at": None, "options": {},
        "links": {"self": f"{call.base_url}/v3/users/{user.id}"},
    }  # fmt: skip
    return Reply(200, {"user": body})


def _own(call: Call) -> None:
    if call.params["user_id"] != call.who.user_id:
        raise ApiError(403, "You are not authorized to perform the requested action.")


def _credential(found: AppCredential) -> dict[str, object]:
    return {
        "id": found.id, "name": found.name, "description": found.description,
        "project_id": found.project_id, "roles": [], "expires_at": None, "unrestricted": False,
        "system": None, "user_id": found.user_id,
    }  # fmt: skip


def create_credential(call: Call) -> Reply:
    """POST /v3/users/{user_id}/application_credentials."""
    _own(call)
    given = _part(call.json(), "application_credential")
    made = AppCredential(
        id=uuid.uuid4().hex,
        name=_word(given, "name"),
        secret=_word(given, "secret") or secrets.token_urlsafe(48),
        user_id=call.who.user_id,
        project_id=call.who.project_id,
        description=_word(given, "description") or None,
    )
    call.world.identity.credentials[made.id] = made
    call.world.identity.dirty = True
    return Reply(201, {"application_credential": {**_credential(made), "secret": made.secret}})


def list_credentials(call: Call) -> Reply:
    """GET /v3/users/{user_id}/application_credentials."""
    _own(call)
    mine = [c for c in call.world.identity.credentials.values() if c.user_id == call.who.user_id]
    links = _links(call, f"users/{call.who.user_id}/application_credentials")
    return Reply(200, {"application_credentials": [_credential(c) for c in mine], "links": links})


def delete_credential(call: Call) -> Reply:
    """DELETE /v3/users/{user_id}/application_credentials/{id}."""
    _own(call)
    if call.world.identity.credentials.pop(call.params["id"], None) is None:
        raise ApiError(404, f"Could not find Application Credential: {call.params['id']}.")
    call.world.identity.dirty = True
    return Reply(204)


_CREDENTIALS = "/v3/users/{user_id}/application_credentials"
ENDPOINTS = (
    Endpoint("GET", "/", versions, open=True),
    Endpoint("GET", "/v3", version, open=True),
    Endpoint("GET", "/v3/", version, open=True),
    Endpoint("POST", "/v3/auth/tokens", log_in, open=True),
    Endpoint("GET", "/v3/auth/tokens", look_at_token),
    Endpoint("DELETE", "/v3/auth/tokens", revoke_token),
    Endpoint("GET", "/v3/auth/catalog", show_catalog),
    Endpoint("GET", "/v3/auth/projects", my_projects),
    Endpoint("GET", "/v3/projects", list_projects),
    Endpoint("GET", "/v3/projects/{id}", show_project),
    Endpoint("GET", "/v3/users/{id}", show_user),
    Endpoint("POST", _CREDENTIALS, create_credential),
    Endpoint("GET", _CREDENTIALS, list_credentials),
    Endpoint("DELETE", _CREDENTIALS + "/{id}", delete_credential),
)
