"""The policy file: tightens, widens, makes roles, is read again, and says where it is wrong."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.permission import PERMISSIONS
from services.gateway.policy.file import PolicyError, PolicyFile, parse
from services.gateway.policy.rules import Rules
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import ADA, bearer, log_in, make_user
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, hear_catalog, make_active

POLICY = """
permissions:
  vm.delete: admin
  vm.reboot: viewer
roles:
  rebooter:
    description: Sees VMs and restarts them.
    permissions: [vm.read, vm.reboot]
"""


def write(file: Path, text: str) -> None:
    file.write_text(text)


def is_told_broken() -> float | None:
    return REGISTRY.get_sample_value("hostler_policy_broken")


def remove(file: Path) -> None:
    file.unlink()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    write(path, POLICY)
    return path


@pytest.fixture
async def ruled(new_gateway: NewGateway, file: Path) -> Gateway:
    made = await new_gateway(policy_file=file)
    await hear_catalog(made, *CATALOG)
    return made


async def statuses(gateway: Gateway, secret: str, vm_id: str) -> tuple[int, int, int]:
    """Of looking, rebooting and deleting."""
    async with client(gateway, secret) as theirs:
        looked = await theirs.get(f"/v1/vms/{vm_id}")
        rebooted = await theirs.post(f"/v1/vms/{vm_id}/reboot")
        deleted = await theirs.delete(f"/v1/vms/{vm_id}")
    return looked.status_code, rebooted.status_code, deleted.status_code


async def key(gateway: Gateway, role: str, maker: str = ADMIN_KEY) -> str:
    async with client(gateway, maker) as admin:
        made = await admin.post("/v1/api-keys", json={"name": f"of-{role}", "role": role})
    assert made.status_code == 201, made.text
    return made.json()["key"]


async def a_vm(gateway: Gateway) -> str:
    async with client(gateway, ADMIN_KEY) as admin:
        return str((await make_active(gateway, admin))["id"])


async def test_a_permission_is_tightened_and_another_widened(ruled: Gateway) -> None:
    vm_id = await a_vm(ruled)
    assert await statuses(ruled, await key(ruled, "operator"), vm_id) == (200, 202, 403)
    assert await statuses(ruled, await key(ruled, "viewer"), vm_id) == (200, 202, 403)


async def test_a_role_of_the_file_may_what_it_lists_in_keys_and_in_memberships(
    ruled: Gateway,
) -> None:
    vm_id = await a_vm(ruled)
    assert await statuses(ruled, await key(ruled, "rebooter"), vm_id) == (200, 202, 403)
    async with client(ruled, await key(ruled, "viewer")) as viewer:
        assert (await viewer.get("/v1/project")).status_code == 200
    await make_user(ruled, ADA, {"demo": Role("rebooter")})
    async with bearer(ruled, await log_in(ruled)) as ada:
        told = (await ada.get("/v1/permissions")).json()
        assert (await ada.get("/v1/project")).status_code == 403
    allowed = {each["permission"] for each in told["permissions"] if each["allowed"]}
    assert allowed == {"vm.read", "vm.reboot"} == set(told["roles"]["rebooter"])


async def test_permissions_tell_the_role_that_the_policy_asks_for(ruled: Gateway) -> None:
    async with client(ruled, await key(ruled, "operator")) as operator:
        told = (await operator.get("/v1/permissions")).json()["permissions"]
        refused = await operator.delete(f"/v1/vms/{await a_vm(ruled)}")
    found = {each["permission"]: (each["role"], each["allowed"]) for each in told}
    assert found["vm.delete"] == ("admin", False)
    assert found["vm.reboot"] == ("viewer", True)
    assert refused.json()["detail"] == (
        "vm.delete asks for the role admin; the caller's is operator."
    )


async def test_nobody_gives_a_role_that_may_what_they_may_not(
    new_gateway: NewGateway, file: Path
) -> None:
    write(file, f"{POLICY}  keeper:\n    permissions: [api_key.manage, user.manage, vm.read]\n")
    gateway = await new_gateway(policy_file=file)
    keeper = await key(gateway, "keeper")
    async with client(gateway, keeper) as theirs:
        for role in ("admin", "operator", "rebooter"):
            body = {"name": f"mine-{role}", "role": role}
            assert (await theirs.post("/v1/api-keys", json=body)).status_code == 403, role
        keys = (await theirs.get("/v1/api-keys")).json()["items"]
        [admins] = [each["id"] for each in keys if each["role"] == "admin" and each["name"] != "x"]
        assert (await theirs.post(f"/v1/api-keys/{admins}/rotate")).status_code == 403
        own = await theirs.post("/v1/api-keys", json={"name": "mine", "role": "keeper"})
        assert own.status_code == 201
    ada = await make_user(gateway, ADA, {"demo": Role.VIEWER})
    async with client(gateway, keeper) as theirs:
        wanted = {"memberships": {"demo": "admin"}}
        assert (await theirs.patch(f"/v1/users/{ada}", json=wanted)).status_code == 403


async def test_a_role_that_there_is_not_is_a_400_that_names_those_that_there_are(
    ruled: Gateway,
) -> None:
    async with client(ruled, ADMIN_KEY) as admin:
        made = await admin.post("/v1/api-keys", json={"name": "x", "role": "chief"})
    assert made.status_code == 400
    assert made.json()["detail"] == (
        "There is no role chief; known: viewer, operator, admin, rebooter."
    )


async def test_a_key_can_do_no_more_than_the_user_who_made_it_whatever_their_roles_are(
    new_gateway: NewGateway, file: Path
) -> None:
    write(file, f"{POLICY}  chief:\n    permissions: ['*']\n")
    gateway = await new_gateway(policy_file=file)
    await hear_catalog(gateway, *CATALOG)
    vm_id = await a_vm(gateway)
    ada = await make_user(gateway, ADA, {"demo": Role("chief")})
    async with bearer(gateway, await log_in(gateway)) as chief:
        made = await chief.post("/v1/api-keys", json={"name": "hers", "role": "operator"})
    async with client(gateway, ADMIN_KEY) as admin:
        wanted = {"memberships": {"demo": "rebooter"}}
        assert (await admin.patch(f"/v1/users/{ada}", json=wanted)).status_code == 200
    async with client(gateway, made.json()["key"]) as hers:
        assert (await hers.post(f"/v1/vms/{vm_id}/reboot")).status_code == 202
        assert (await hers.post(f"/v1/vms/{vm_id}/stop")).status_code == 403


async def test_another_file_holds_from_the_next_request_on_and_a_broken_one_changes_nothing(
    ruled: Gateway, file: Path
) -> None:
    vm_id, operator = await a_vm(ruled), await key(ruled, "operator")
    write(file, "permissions: {vm.reboot: admin}\n")
    await ruled.policy.look()
    assert (await statuses(ruled, operator, vm_id))[1] == 403
    write(file, "permissions: {vm.reboot: admin\n")
    await ruled.policy.look()
    assert (await statuses(ruled, operator, vm_id))[1] == 403
    with pytest.raises(RuntimeError, match=r"last good policy stands; .*line 2: not YAML"):
        await ruled.policy.probe()
    assert is_told_broken() == 1
    remove(file)
    await ruled.policy.look()
    assert "cannot be read" in ruled.policy.broken
    write(file, "permissions: {vm.reboot: admin}\n")
    await ruled.policy.look()
    assert (ruled.policy.broken, is_told_broken()) == ("", 0)
    assert await ruled.policy.probe() == str(file)


async def test_no_gateway_starts_with_a_file_that_it_cannot_use(
    new_gateway: NewGateway, file: Path
) -> None:
    write(file, "permisions: {}\n")
    with pytest.raises(ValueError, match=r"HOSTLER_POLICY_FILE .*policy.yaml: line 1: permisions"):
        await new_gateway(policy_file=file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permissions:\n  vm.delte: admin", "line 2: permissions.vm.delte: there is no permission"),
        ("permissions:\n  vm.delete: chief", "write viewer, operator or admin, not chief"),
        ("permissions:\n  vm.delete: 3", "line 2: permissions.vm.delete: Input should be"),
        ("roles:\n  x:\n    permissions: [vm.read, vm.raed]", "line 3: roles.x.permissions.1: "),
        ("roles:\n  x:\n    permissions: []", "line 3: roles.x.permissions: List should have"),
        ("roles:\n  x:\n    permisions: []", "roles.x.permisions: Extra inputs"),
        ("roles:\n  admin:\n    permissions: ['*']", "admin is built in: choose another name"),
        ("roles:\n  Big Boss:\n    permissions: ['*']", "line 2: roles.Big Boss: String should"),
        ("permissions: {}\npermissions: {}", "line 2: 'permissions' is there twice"),
        ("- 1", "valid dictionary or instance"),
        ("permissions: !!python/object:os.system {}", "not YAML"),
        ("a: &a [*a]", "not YAML|Extra inputs"),
        ("[" * 5000, "not YAML"),
        ("x" * 300_000, "longer than"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_do(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as told:
        parse(text.encode(), PERMISSIONS)
    assert any(each in str(told.value) for each in said.split("|")), told.value


def test_an_empty_file_changes_nothing() -> None:
    assert parse(b"", PERMISSIONS) == PolicyFile()
    built_in = Rules.of(PolicyFile(), PERMISSIONS)
    assert built_in.needed == PERMISSIONS
    for role in Role.BUILT_IN:
        assert built_in.granted[role] == {p for p, n in PERMISSIONS.items() if role.covers(n)}
