"""What must hold at the end, whatever went wrong: each check tells what differs."""

import base64
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import httpx

from tests.faults.chaos.callers import Json
from tests.faults.chaos.plan import Kind
from tests.faults.chaos.world import ENDS, FINAL, Outside

Check = Callable[[Outside], Iterator[str]]
MOST_SHOWN: Final = 12
LEAST_ACCEPTED: Final = 0.5
"""Commands for each mishap: a tenth of what a small machine does."""
LEAST_SUCCEEDED: Final = 0.3
LEAST_MISHAPS: Final = 0.6
STARTED: Final = "operation.started.v1"
ISSUED: Final = "operation.issued.v1"
SUCCEEDED: Final = "operation.succeeded.v1"
STEPS: Final = {STARTED, ISSUED, "operation.retrying.v1"}
KNOWN_TRACEBACKS: Final = (
    # A library's, about an outage that the run made.
    r"\| (aiokafka|kafka)\.errors\.",
    r"\| (ConnectionRefusedError|ConnectionResetError|BrokenPipeError)",
)


def it_was_a_run(seen: Outside) -> Iterator[str]:
    """Callers got things done meanwhile, and things went wrong as planned."""
    accepted = seen.book.accepted()
    if len(accepted) < LEAST_ACCEPTED * len(seen.planned):
        yield f"{len(accepted)} commands were accepted while {len(seen.planned)} things went wrong"
    done = Counter(end for of_one in seen.ends.values() for end in of_one)
    if done[SUCCEEDED] < LEAST_SUCCEEDED * done.total():
        yield f"of {done.total()} operations {done[SUCCEEDED]} succeeded"
    passed = sum(seen.journal.counts[kind] for kind in Kind)
    if passed < LEAST_MISHAPS * len(seen.planned):
        yield f"{passed} of {len(seen.planned)} mishaps could be"


def strange_answers(seen: Outside) -> Iterator[str]:
    """No caller got an answer that it should never get."""
    yield from seen.book.strange


def every_command_has_one_outcome(seen: Outside) -> Iterator[str]:
    """Accepted: one operation, one command in audit, one end, and the same end in the read model."""
    commands = Counter(row["message_id"] for row in seen.audit)
    for operation_id, asked in seen.book.accepted().items():
        shown, ends = seen.operations.get(operation_id), seen.ends.get(operation_id, [])
        who = f"{asked.command} {operation_id} of vm {(asked.operation or {}).get('vm_id')}"
        if shown is None:
            yield f"{who} is not among the operations"
        elif shown["state"] not in FINAL:
            yield f"{who} is {shown['state']}: {shown['error']}"
        elif ends != [f"operation.{shown['state']}.v1"]:
            yield f"{who} is {shown['state']}, in audit it ended {ends}"
        if commands[operation_id] != 1:
            yield f"{who} stands {commands[operation_id]} times in audit"


def nothing_was_done_that_nobody_asked(seen: Outside) -> Iterator[str]:
    """More operations than were accepted come from callers that died before their answer."""
    accepted = seen.book.accepted()
    extra = Counter(o["command"] for i, o in seen.operations.items() if i not in accepted)
    unknown = Counter(asked.command for asked in seen.book.asked if asked.is_unknown)
    for command, count in extra.items():
        if count > unknown[command]:
            yield f"{count} of {command} that nobody knows of, {unknown[command]} had no answer"


def nothing_is_stuck(seen: Outside) -> Iterator[str]:
    """No operation is open, no VM has one under way."""
    for operation in seen.open_operations():
        yield f"{operation['command']} {operation['id']} is {operation['state']}"
    for vm in seen.vms.values():
        if vm["operation"] is not None or vm["transition"] is not None:
            yield f"vm {vm['id']} is {vm['state']} and {vm['transition']} by {vm['operation']}"


def cloud_and_read_model_agree(seen: Outside) -> Iterator[str]:
    """Every server has its VM and every VM its server, in the same state; none twice.

    But for servers of creates that were given up, once they are told as orphans.
    """
    cloud, model = seen.in_cloud(), seen.present()
    orphans = seen.orphans()
    times = Counter(vm for vm, server, _ in cloud if server not in orphans)
    for vm, server, state in cloud:
        if model.get(vm) != (server, state) and server not in orphans:
            yield f"vm {vm}: {server} is {state}, the read model says {model.get(vm)}"
        if times[vm] > 1:
            yield f"vm {vm} has {times[vm]} servers, one of them {server}"
    for vm in model.keys() - {vm for vm, _, _ in cloud}:
        yield f"vm {vm}: the read model says {model[vm]}, the cloud has nothing"


def audit_and_read_model_agree(seen: Outside) -> Iterator[str]:
    """The last change that audit holds of a VM is what the read model shows."""
    latest: dict[str, tuple[int, str, str | None]] = {}
    for row in seen.audit:
        if row["type"] == "vm.changed.v1":
            vm = row["data"]["vm"]
            said = (int(row["data"]["version"]), str(vm["state"]), vm["server_id"])
            latest[row["subject"]] = max(latest.get(row["subject"], said), said, key=lambda s: s[0])
    for vm_id, (version, state, server_id) in latest.items():
        shown = seen.vms.get(vm_id)
        if shown is None or shown["state"] != state or server_id not in {None, shown["server_id"]}:
            got = shown and (shown["state"], shown["server_id"])
            yield f"vm {vm_id}: audit has {state} {server_id} ({version}), the read model {got}"


def audit_has_what_kafka_has(seen: Outside) -> Iterator[str]:
    """Every message once; none that was not said."""
    rows = Counter(row["message_id"] for row in seen.audit)
    yield from (f"{each} stands {n} times in audit" for each, n in rows.items() if n > 1)
    for topic in ("vm.commands", "vm.events"):
        for said in seen.once(topic):
            if said.id not in rows:
                yield f"{said.type} {said.id} of {topic} is not in audit"


def events_come_once_and_in_order(seen: Outside) -> Iterator[str]:
    """One id, one message; the versions of each VM's changes rise by one."""
    bodies: dict[str, bytes] = {}
    for said in seen.topics["vm.events"]:
        if said.id and bodies.setdefault(said.id, said.value) != said.value:
            yield f"{said.type} {said.id} was said with two bodies"
    versions: dict[str, list[int]] = defaultdict(list)
    for said in seen.once("vm.events"):
        if said.type == "vm.changed.v1":
            versions[said.key].append(int(said.data["version"]))
    for vm, counted in versions.items():
        if counted != list(range(1, len(counted) + 1)):
            yield f"vm {vm}: its changes are numbered {counted}"


def operations_are_told_in_order(seen: Outside) -> Iterator[str]:
    """Each begins before it is issued, and nothing more is done about it after its end."""
    steps: dict[str, list[str]] = defaultdict(list)
    for said in seen.once("vm.events"):
        if said.type in STEPS or said.type in ENDS:
            steps[said.headers["ce_operationid"]].append(said.type)
    for operation_id, told in steps.items():
        ended = [place for place, step in enumerate(told) if step in ENDS]
        if ended and ended[0] != len(told) - 1:
            yield f"{operation_id} went on after its end: {told}"
        if ISSUED in told and STARTED not in told[: told.index(ISSUED)]:
            yield f"{operation_id} was issued before it began: {told}"


def the_last_state_is_the_truth(seen: Outside) -> Iterator[str]:
    """The last record of each VM on vm.state, taken alone, is what the read model shows."""
    yield from _unlike_the_model(seen, seen.states)


def who_joins_late_sees_the_same(seen: Outside) -> Iterator[str]:
    """vm.state and vm.events lead to what the read model shows; of what never was, its state."""
    yield from _unlike_the_model(seen, seen.picture)


def _unlike_the_model(seen: Outside, told: Mapping[str, Json]) -> Iterator[str]:
    for vm_id, vm in seen.vms.items():
        picture = told.get(vm_id)
        made = picture is not None and picture["server_id"] is not None
        for name in ("state", "server_id", "name") if made else ("state",):
            if picture and picture[name] != vm[name]:
                yield f"vm {vm_id}: {name} is {picture[name]!r} on Kafka, {vm[name]!r} in the model"
        if picture is None and vm["server_id"] is not None:
            yield f"vm {vm_id} has {vm['server_id']} and nothing is said of it on Kafka"


def followers_heard_everything_once(seen: Outside) -> Iterator[str]:
    """Cut off and resumed, each has every event once, in the order of the stream."""
    told = {said.id for said in seen.once("vm.events") if said.type != "vm.observed.v1"}
    for follower in seen.followers:
        places = [heard.place for heard in follower.heard]
        if places != sorted(set(places)):
            yield f"{follower.name}: places of the stream came twice or out of order"
        ids = Counter(str(heard.event.get("id")) for heard in follower.heard)
        twice = [each for each, times in ids.items() if times > 1]
        missed, unheard = told - ids.keys(), ids.keys() - told
        for what, which in (("twice", twice), ("never", missed), ("but were not said", unheard)):
            if which:
                yield f"{follower.name} heard {len(which)} events {what}, e.g. {sorted(which)[:3]}"


def the_chain_verifies(seen: Outside) -> Iterator[str]:
    """Audit's own check of its hashes."""
    verdict = seen.get("/v1/audit/verify")
    if not verdict["valid"]:
        yield f"{verdict}"


def no_dead_letters_but_planted(seen: Outside) -> Iterator[str]:
    """What consumers gave up on is what was made to be unreadable."""
    for said in seen.once("dead.letters"):
        if base64.b64decode(said.data["value_base64"]) not in seen.poisons:
            data = said.data
            yield f"{data['consumer']} gave up {data['topic']} {data['headers'].get('ce_type')}: {data['reason']}"


def no_bug_is_logged(seen: Outside) -> Iterator[str]:
    """The services' logs hold no traceback but known ones."""
    for last, logs in seen.tracebacks().items():
        if not any(re.search(known, last) for known in KNOWN_TRACEBACKS):
            yield f"{len(logs)} times in {', '.join(sorted(set(logs)))}: {last}"


CHECKS: Final[tuple[Check, ...]] = (
    it_was_a_run,
    strange_answers,
    every_command_has_one_outcome,
    nothing_was_done_that_nobody_asked,
    nothing_is_stuck,
    cloud_and_read_model_agree,
    audit_and_read_model_agree,
    audit_has_what_kafka_has,
    events_come_once_and_in_order,
    operations_are_told_in_order,
    the_last_state_is_the_truth,
    who_joins_late_sees_the_same,
    followers_heard_everything_once,
    the_chain_verifies,
    no_dead_letters_but_planted,
    no_bug_is_logged,
)


def judge(seen: Outside) -> dict[str, list[str]]:
    """Each check by name, with what differs: nothing where it holds."""
    return {check.__name__.replace("_", " "): _differences(check, seen) for check in CHECKS}


def _differences(check: Check, seen: Outside) -> list[str]:
    try:
        return list(check(seen))
    except httpx.HTTPError as error:
        return [f"it could not be asked: {error!r}"]
