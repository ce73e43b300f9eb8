"""A command is believed if the gateway signed it as it stands there, and in no other case."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from chassis.ids import new_id
from chassis.seals import Keyring, Signer, Trust, Unsigned, sealed, seed_of
from chassis.wire import SIGNATURE, Record, decode, encode, received
from contracts.message import Body, Message
from contracts.vm.commands import Create, Delete, Stop
from services.provisioner.settings import ProvisionerSettings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SIGNER = Signer(b"s" * 32)
KEYS = Keyring([SIGNER.public_key])


def asked(data: Body, **more: object) -> Message[Body]:
    return Message(
        id=new_id(),
        source="hostler/gateway",
        time=NOW,
        subject=str(new_id()),
        project_id="demo",
        account="cloud",
        actor="user:zoë, of the café",
        operation_id=new_id(),
        request_id="req-1",
        data=data,
    ).model_copy(update=more)


CREATE = Create(name="web-1", flavor="m1", image="debian", metadata={"naive": "ключ"})


def record(data: Body = CREATE, signer: Signer = SIGNER) -> Record:
    return encode(signer.seal(asked(data)))


@pytest.mark.parametrize("data", [CREATE, Stop(), Delete()])
def test_what_the_gateway_signed_is_believed_as_it_comes_from_kafka(data: Body) -> None:
    sent = record(data)
    headers = [(name, text.encode()) for name, text in sent.headers.items()]
    came = received(sent.topic, 7, 42, sent.key.encode(), headers, sent.value)
    assert KEYS.why_not(came) == ""
    assert decode(came).data == data
    assert decode(came).signature == sent.headers[SIGNATURE]


@pytest.mark.parametrize(
    "name",
    sorted({*record().headers} - {"traceparent", SIGNATURE}),
)
def test_no_header_can_be_altered_or_left_out(name: str) -> None:
    good = record()
    altered = replace(good, headers=good.headers | {name: f"{good.headers[name]}0"})
    without = replace(good, headers={k: v for k, v in good.headers.items() if k != name})
    for bad in (altered, without):
        assert KEYS.why_not(bad) == "its signature is not of what it says"


def test_nothing_can_be_added_moved_or_put_in_anothers_place() -> None:
    good, other = record(), record(Delete())
    signature = {SIGNATURE: other.headers[SIGNATURE]}
    forged = {
        "another actor": replace(good, headers=good.headers | {"ce_actor": "key:admin"}),
        "another VM": replace(good, key=other.key),
        "another body": replace(good, value=other.value),
        "another topic": replace(good, topic="vm.events"),
        "one header more": replace(good, headers=good.headers | {"ce_role": "admin"}),
        "the signature of another": replace(good, headers=good.headers | signature),
        "half a signature": replace(
            good, headers=good.headers | {SIGNATURE: good.headers[SIGNATURE][:60]}
        ),
        "no base64": replace(good, headers=good.headers | {SIGNATURE: f"{SIGNER.key_id}.é!"}),
    }
    told = {name: KEYS.why_not(each) for name, each in forged.items()}
    assert set(told.values()) == {"its signature is not of what it says"}, told


def test_the_trace_may_change_on_the_way() -> None:
    good = record()
    traced = replace(good, headers=good.headers | {"traceparent": "00-1-2-01", "baggage": "a=b"})
    assert KEYS.why_not(traced) == ""


def test_a_command_without_a_signature_or_with_somebody_elses_is_not_believed() -> None:
    assert KEYS.why_not(encode(asked(CREATE))) == "it is not signed"
    strangers = record(signer=Signer(secrets.token_bytes(32)))
    assert KEYS.why_not(strangers) == "it is signed with a key that is not trusted here"
    renamed = strangers.headers[SIGNATURE].partition(".")[2]
    pretending = replace(
        strangers, headers=strangers.headers | {SIGNATURE: f"{SIGNER.key_id}.{renamed}"}
    )
    assert KEYS.why_not(pretending) == "its signature is not of what it says"


def test_keys_take_each_others_place_and_one_that_is_over_signs_nothing_new() -> None:
    old, new = Signer(secrets.token_bytes(32)), Signer(secrets.token_bytes(32))
    end = NOW + timedelta(minutes=1)
    keys = Keyring([new.public_key, f"{old.public_key} until {end.isoformat()}"])
    assert keys.why_not(record(signer=new)) == ""
    assert keys.why_not(record(signer=old)) == "", "it was said before the end"
    late = encode(old.seal(asked(CREATE, time=end + timedelta(seconds=1))))
    assert keys.why_not(late) == "its key is over"
    backdated = replace(late, headers=late.headers | {"ce_time": NOW.isoformat()})
    assert keys.why_not(backdated) == "its signature is not of what it says"


def test_what_is_not_believed_is_refused_told_or_taken_as_the_settings_say(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unsigned = encode(asked(CREATE))
    with pytest.raises(Unsigned, match="refused: it is not signed"):
        sealed(KEYS, Trust.REQUIRE)(unsigned)
    assert sealed(KEYS, Trust.WARN)(unsigned).data == CREATE
    assert "is believed although it is not signed" in caplog.text
    assert sealed(KEYS, Trust.OFF)(unsigned).data == CREATE


def test_keys_are_read_in_either_base64_and_nothing_else() -> None:
    standard = "+/" * 21 + "8="
    assert seed_of(standard) == seed_of(standard.replace("+", "-").replace("/", "_").rstrip("="))
    for wrong in ("", "short", "é" * 43, "!" * 43, standard * 2):
        with pytest.raises(ValueError, match="base64"):
            seed_of(wrong)


def test_with_keys_signatures_are_asked_for_and_without_they_cannot_be() -> None:
    assert ProvisionerSettings().command_signatures is Trust.OFF
    given = {"command_keys": (SIGNER.public_key,)}
    assert ProvisionerSettings.model_validate(given).command_signatures is Trust.REQUIRE
    for wrong in (
        {"command_signatures": "require"},
        {"command_signatures": "warn"},
        {"command_keys": ("nonsense",)},
        {"command_keys": (f"{SIGNER.public_key} until 2026-12-01T00:00:00",)},
    ):
        with pytest.raises(ValidationError):
            ProvisionerSettings.model_validate(wrong)
