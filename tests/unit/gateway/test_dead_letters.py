"""Dead letters: shown without their value to those they belong to, and given back when asked."""

from typing import Any

from chassis.dead_letters import dead_letter
from chassis.testing import VirtualClock, hear, said
from chassis.wire import Record
from contracts.access.events import LettersReplayed
from contracts.dead_letter import Replay
from contracts.message import Body, Message
from services.gateway.context import Gateway
from services.gateway.tables import DEAD_LETTERS
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.world import Clients, told

SECRET = b'{"user_data": "s3cret"}'


def letter(
    project_id: str = "demo",
    *,
    consumer: str = "hostler.provisioner",
    type: str = "vm.create.v1",  # noqa: A002
    topic: str = "vm.commands",
) -> Message[Body]:
    record = Record(topic, "k", {"ce_type": type, "ce_projectid": project_id}, SECRET, 3, 41)
    data = dead_letter(record, consumer, "RuntimeError: a bug")
    return told(data, subject="k", project_id=project_id)


async def items(client: Any, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/dead-letters{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_a_letter_is_shown_with_its_reason_and_never_with_its_value(
    gateway: Gateway, clients: Clients
) -> None:
    message = letter()
    await hear(gateway.service, message, message)
    [shown] = await items(clients.admin)
    assert (shown["id"], shown["reason"]) == (str(message.id), "RuntimeError: a bug")
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("vm.commands", 3, 41)
    assert (shown["value_bytes"], len(shown["value_sha256"])) == (len(SECRET), 64)
    one = await clients.admin.get(f"/v1/dead-letters/{message.id}")
    assert one.json() == shown
    assert "s3cret" not in one.text
    assert "czNjcmV0" not in one.text


async def test_letters_of_no_known_project_are_for_admins_of_the_first_one(
    gateway: Gateway, clients: Clients
) -> None:
    mine, theirs, nobodys, unknown = (letter(p) for p in ("demo", "other", "", "gone"))
    await hear(gateway.service, mine, theirs, nobodys, unknown)
    seen = {each["id"] for each in await items(clients.admin)}
    assert seen == {str(m.id) for m in (mine, nobodys, unknown)}
    assert [each["id"] for each in await items(clients.stranger)] == [str(theirs.id)]
    for hidden in (mine, nobodys):
        answer = await clients.stranger.post(f"/v1/dead-letters/{hidden.id}/replay")
        assert answer.status_code == 404
    answer = await clients.stranger.post("/v1/dead-letters/replay", json={})
    assert answer.json()["letters"] == [str(theirs.id)]


async def test_a_list_is_narrowed_by_consumer_topic_and_type_and_comes_in_pages(
    gateway: Gateway, clients: Clients
) -> None:
    first, second = letter(), letter(consumer="hostler.audit", type="x", topic="vm.events")
    await hear(gateway.service, first, second)
    for query in ("?consumer=hostler.audit", "?topic=vm.events", "?type=x"):
        assert [each["id"] for each in await items(clients.admin, query)] == [str(second.id)]
    page = (await clients.admin.get("/v1/dead-letters?limit=1")).json()
    rest = (await clients.admin.get(page["links"]["next"])).json()
    assert [each["id"] for each in (*page["items"], *rest["items"])] == [
        str(second.id),
        str(first.id),
    ]


async def test_a_replay_gives_the_record_back_whole_and_says_who_asked(
    gateway: Gateway, clients: Clients
) -> None:
    message = letter()
    await hear(gateway.service, message)
    answer = await clients.admin.post(f"/v1/dead-letters/{message.id}/replay")
    assert (answer.status_code, answer.json()["replays"]) == (202, 1)
    given, told_of = await said(gateway.database)
    assert given.data == Replay(letter_id=message.id, letter=message.data)  # pyright: ignore[reportArgumentType]
    assert (given.subject, given.project_id) == ("k", "demo")
    assert told_of.data == LettersReplayed(letters=(message.id,))
    assert told_of.actor == "key:environment"


async def test_many_are_replayed_oldest_first_and_none_twice(
    gateway: Gateway, clients: Clients
) -> None:
    messages = [letter() for _ in range(3)]
    other = letter(consumer="hostler.audit")
    await hear(gateway.service, *messages, other)
    wanted = {"consumer": "hostler.provisioner", "limit": 2}
    answers = [await clients.admin.post("/v1/dead-letters/replay", json=wanted) for _ in range(3)]
    given = [answer.json()["letters"] for answer in answers]
    ids = [str(message.id) for message in messages]
    assert given == [ids[:2], ids[2:], []]
    replays = [m for m in await said(gateway.database) if isinstance(m.data, Replay)]
    assert len(replays) == 3


async def test_what_is_wrong_with_a_replay_is_told(clients: Clients) -> None:
    for wrong in ({"limit": 0}, {"limit": 201}, {"consumr": "x"}):
        assert (await clients.admin.post("/v1/dead-letters/replay", json=wrong)).status_code == 400


async def test_a_letter_that_somebody_made_up_is_kept_and_does_no_harm(
    gateway: Gateway, clients: Clients
) -> None:
    message = letter()
    data = message.data.model_copy(update={"value_base64": "~"})
    await hear(gateway.service, message.model_copy(update={"data": data}))
    [shown] = await items(clients.admin)
    assert shown["value_bytes"] == 0


async def test_letters_are_forgotten_after_their_time(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    gateway = await new_gateway()
    await hear(gateway.service, letter())
    async with gateway.database.session() as session:
        await gateway.dead_letters.forget(session)
    assert await count(gateway) == 1
    clock.advance(days=91)
    async with gateway.database.session() as session:
        await gateway.dead_letters.forget(session)
    assert await count(gateway) == 0


async def count(gateway: Gateway) -> int:
    async with gateway.database.reading() as session:
        return len((await session.execute(DEAD_LETTERS.select())).all())
