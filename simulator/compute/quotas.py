"""What a project may have, what it has, and Nova's words when that is too much."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

from collections.abc import Mapping

from simulator.api import ApiError, Call, Reply
from simulator.compute.model import Flavor


def used_by(call: Call, project_id: str) -> Mapping[str, int]:
    """Instances, cores and MiB of RAM; a server counts until it is deleted."""
    used = call.world.compute.servers.usage(project_id)
    return {"instances": used.instances, "cores": used.cores, "ram": used.ram}


def check_quota(call: Call, flavor: Flavor, count: int) -> None:
    """ApiError 403 where `count` more servers of the flavor are too many."""
    quota = call.world.compute.quotas[call.who.project_id]
    limits = {"cores": quota.cores, "instances": quota.instances, "ram": quota.ram}
    if min(limits.values()) > 50_000:
        return
    wanted = {"cores": count * flavor.vcpus, "instances": count, "ram": count * flavor.ram}
    used = used_by(call, call.who.project_id)
    overs = [r for r in sorted(limits) if 0 <= limits[r] < used[r] + wanted[r]]
    if not overs:
        return
    names = ", ".join(overs)
    asked, had, allowed = (", ".join(str(t[r]) for r in overs) for t in (wanted, used, limits))
    raise ApiError(
        403,
        f"Quota exceeded for {names}: Requested {asked}, "
        f"but already used {had} of {allowed} {names}",
    )


def show_quota(call: Call) -> Reply:
    """GET /os-quota-sets/{id}."""
    project_id = call.params["id"]
    quota = call.world.compute.quotas.get(project_id)
    if quota is None or not (call.who.admin or project_id == call.who.project_id):
        words = "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed."
        raise ApiError(403, words)
    old = {"injected_files": 5, "injected_file_content_bytes": 10240,
           "injected_file_path_bytes": 255} if call.version < 57 else {}  # fmt: skip
    older = {"fixed_ips": -1, "floating_ips": -1, "security_group_rules": -1,
             "security_groups": -1} if call.version < 36 else {}  # fmt: skip
    return Reply(200, {"quota_set": {"id": project_id, **quota.model_dump(), **old, **older}})


def limits(call: Call) -> Reply:
    """GET /limits."""
    quota = call.world.compute.quotas[call.who.project_id]
    used = used_by(call, call.who.project_id)
    absolute = {
        "maxTotalCores": quota.cores, "maxTotalInstances": quota.instances,
        "maxTotalKeypairs": quota.key_pairs, "maxServerMeta": quota.metadata_items,
        "maxTotalRAMSize": quota.ram, "maxServerGroups": quota.server_groups,
        "maxServerGroupMembers": quota.server_group_members, "totalRAMUsed": used["ram"],
        "totalCoresUsed": used["cores"], "totalInstancesUsed": used["instances"],
        "totalServerGroupsUsed": 0,
    }  # fmt: skip
    return Reply(200, {"limits": {"rate": [], "absolute": absolute}})
