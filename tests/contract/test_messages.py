import json
from pathlib import Path
from typing import Any, cast

import pytest

from chassis.wire import Record, decode, encode
from contracts import asyncapi
from contracts.errors import MEANINGS, ErrorCode
from contracts.fingerprints import FILE, fingerprints
from contracts.message import Command, Event
from contracts.topics import TOPICS, VM_COMMANDS, topic_of, types

EXAMPLES = Path("contracts/examples")


def _example(name: str) -> Record:
    read = json.loads((EXAMPLES / f"{name}.json").read_text())
    return Record(read["topic"], read["key"], read["headers"], json.dumps(read["value"]).encode())


@pytest.mark.parametrize("name", types())
def test_every_type_has_an_example_that_reads_and_writes_the_same(name: str) -> None:
    record = _example(name)
    message = decode(record)
    written = encode(message)
    assert message.type == name
    assert (written.topic, written.key, written.headers) == (
        record.topic,
        record.key,
        record.headers,
    )
    assert json.loads(written.value) == json.loads(record.value)


def test_no_example_is_left_of_a_type_that_is_gone() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(types())


def test_a_changed_schema_without_a_new_version_fails() -> None:
    assert fingerprints() == json.loads(FILE.read_text()), (
        "a message's schema changed: give it a new wire name and an upcaster, "
        "or run `make generate MINOR=1` if it only gained an optional field"
    )


def test_wire_names_are_noun_verb_version_and_each_stands_on_one_topic() -> None:
    every = [body for topic in TOPICS for body in topic.carries]
    assert len(types()) == len(every)
    for body in every:
        assert body.wire_name().count(".") == 2
        assert topic_of(body).name in {topic.name for topic in TOPICS}


def test_commands_refuse_unknown_fields_and_events_tolerate_them() -> None:
    for body in types().values():
        assert issubclass(body, Command | Event)
        assert body.model_config.get("extra") == (
            "forbid" if issubclass(body, Command) else "ignore"
        )


def test_every_command_says_its_change_deadline_role_and_is_documented() -> None:
    for body in VM_COMMANDS.carries:
        assert issubclass(body, Command)
        assert body.change.start
        assert body.deadline.total_seconds() > 0
        assert body.role
        assert body.__doc__


def test_every_error_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ErrorCode)


def test_the_asyncapi_document_names_every_topic_and_resolves_every_reference() -> None:
    document = asyncapi.document()
    assert set(document["channels"]) == {topic.name for topic in TOPICS}
    for reference in _references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [r for each in cast("list[Any]", value) for r in _references(each)]
    if not isinstance(value, dict):
        return []
    items = cast("dict[str, Any]", value)
    own = [items["$ref"]] if "$ref" in items else []
    return own + [r for each in items.values() for r in _references(each)]
