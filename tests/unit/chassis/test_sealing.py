import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chassis.sealing import (
    BrokenBoxError,
    NoKeyError,
    PrivateKeys,
    PublicKey,
    derived,
    main,
    raw_key,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECRET = b"#cloud-config\npassword: hunter2"


def test_only_the_private_half_opens_and_only_for_what_it_was_bound_to() -> None:
    keys = PrivateKeys([NEW])
    box = PublicKey.read(keys.public[0].written).seal(SECRET, "vm a")
    assert keys.open(box, "vm a") == SECRET
    assert base64.b64encode(SECRET).decode()[:12] not in box
    with pytest.raises(BrokenBoxError):
        keys.open(box, "vm b")
    with pytest.raises(NoKeyError):
        PrivateKeys([OLD]).open(box, "vm a")


def test_the_same_secret_is_another_box_each_time() -> None:
    public = PrivateKeys([NEW]).public[0]
    assert public.seal(SECRET, "vm a") != public.seal(SECRET, "vm a")


def test_whatever_is_altered_does_not_open() -> None:
    keys = PrivateKeys([NEW])
    key_id, _, box = keys.public[0].seal(SECRET, "vm a").partition(".")
    raw = base64.urlsafe_b64decode(box)
    for altered in (raw[:-1], raw[:10], b"", raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]):
        with pytest.raises(BrokenBoxError):
            keys.open(f"{key_id}.{base64.urlsafe_b64encode(altered).decode()}", "vm a")
    for hostile in ("", ".", "x", f"{key_id}.%%%", f"{key_id}.{box[:-1]}"):
        with pytest.raises((BrokenBoxError, NoKeyError)):
            keys.open(hostile, "vm a")


def test_keys_of_before_open_what_was_sealed_to_them() -> None:
    box = PrivateKeys([OLD]).public[0].seal(SECRET, "vm a")
    assert PrivateKeys([NEW, OLD]).open(box, "vm a") == SECRET


def test_a_key_follows_from_a_secret_and_tells_nothing_of_it() -> None:
    assert derived("s" * 32) == derived("s" * 32) != derived("t" * 32)


@pytest.mark.parametrize("text", ["", "x", "é", base64.b64encode(b"short").decode()])
def test_what_is_no_key_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="make sealing-key") as told:
        raw_key(text)
    assert len(text) < 2 or text not in str(told.value)


def test_a_pair_that_is_made_fits(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    told = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    private = X25519PrivateKey.from_private_bytes(raw_key(told["HOSTLER_SEALING_KEYS"]))
    assert PublicKey(private.public_key()).written == told["HOSTLER_SEALING_PUBLIC_KEY"]
