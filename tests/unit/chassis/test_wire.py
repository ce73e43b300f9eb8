import base64

import pytest

from chassis.dead_letters import dead_letter
from chassis.wire import Passed, Poison, Record, decode, encode, only, received
from contracts.vm import commands
from contracts.vm.events import Changed
from tests.chassis_toys import changed, command


def test_a_message_comes_back_from_its_record_as_it_was() -> None:
    for message in (command(), changed(command().id, 3)):
        assert decode(encode(message)) == message


def test_a_record_is_a_cloudevent_in_binary_mode_keyed_by_its_subject() -> None:
    message = command()
    record = encode(message)
    assert record.topic == "vm.commands"
    assert record.key == message.subject
    assert record.headers["ce_specversion"] == "1.0"
    assert record.headers["ce_type"] == "vm.reboot.v1"
    assert record.headers["ce_id"] == str(message.id)
    assert record.value == b'{"hard":true}'


def _with(record: Record, **headers: str) -> Record:
    return Record(record.topic, record.key, {**record.headers, **headers}, record.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"\xff\xfe", "not JSON"), (b"[1]", "not a JSON object"), (b'{"hard":"yes"}', "hard")],
)
def test_what_is_no_message_is_poison_with_the_reason(value: bytes, reason: str) -> None:
    record = encode(command())
    with pytest.raises(Poison, match=reason):
        decode(Record(record.topic, record.key, record.headers, value))


def test_an_unknown_type_is_poison() -> None:
    with pytest.raises(Poison, match=r"unknown type 'vm.explode.v1'"):
        decode(_with(encode(command()), ce_type="vm.explode.v1"))


def test_a_command_with_an_unknown_field_is_poison_and_an_event_with_one_is_not() -> None:
    record = encode(command())
    with pytest.raises(Poison, match="force"):
        decode(Record(record.topic, record.key, record.headers, b'{"hard":true,"force":1}'))
    event = encode(changed(command().id, 1))
    more = event.value[:-1] + b',"from_the_future":1}'
    assert decode(Record(event.topic, event.key, event.headers, more)).type == "vm.changed.v1"


def test_the_reason_of_poison_does_not_repeat_the_value() -> None:
    record = encode(command(body=commands.Create(name="n", flavor="f", image="i")))
    value = record.value.replace(b'"n"', b'"secret\\u0007"')
    with pytest.raises(Poison) as caught:
        decode(Record(record.topic, record.key, record.headers, value))
    assert "secret" not in str(caught.value)


def test_bytes_that_are_no_text_are_kept_in_a_dead_letter() -> None:
    record = received("vm.commands", 3, 7, b"\xff", [("ce_type", b"\xfe")], b"\x00\x01")
    letter = dead_letter(record, "hostler.audit", "why")
    assert (letter.key, letter.partition, letter.offset) == ("\\xff", 3, 7)
    assert base64.b64decode(letter.value_base64) == b"\x00\x01"


def test_a_reader_of_some_types_passes_what_else_a_topic_carries() -> None:
    read = only(Changed)
    wanted, other = changed(command().id, 3), command()
    assert read(encode(wanted)) == wanted
    passed = read(encode(other))
    assert isinstance(passed, Passed)
    assert passed.type == other.type


@pytest.mark.parametrize("said", ["vm.explode.v1", ""])
def test_what_no_topic_carries_is_poison_to_it(said: str) -> None:
    with pytest.raises(Poison):
        only(Changed)(_with(encode(command()), ce_type=said))


def test_so_is_a_record_of_a_wanted_type_that_cannot_be_read() -> None:
    record = encode(changed(command().id, 3))
    with pytest.raises(Poison):
        only(Changed)(Record(record.topic, record.key, record.headers, b"{}"))
