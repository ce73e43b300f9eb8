"""What a Kafka with locks begins with is made once, is each one's own, and is made anew in time."""

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.kafka.acls import kept
from deploy.kafka.certificates import Authority, lasts_until
from deploy.kafka.grants import ADMIN, BROKER, principals
from deploy.kafka.locks import MARGIN, prepare

NOW = datetime.now(UTC)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_everybody_gets_what_they_need_and_nobody_the_authoritys_key(tmp_path: Path) -> None:
    assert prepare(tmp_path, ["kafka"], NOW)
    wanted = {f"{name}/ca.pem" for name in (BROKER, ADMIN, *principals())}
    wanted |= {f"{name}/{name}.pem" for name in (BROKER, ADMIN)}
    wanted |= {f"{name}/password" for name in principals()}
    made = contents(tmp_path)
    assert set(made) == wanted
    assert len({made[f"{name}/ca.pem"] for name in (BROKER, ADMIN, *principals())}) == 1
    assert len({made[f"{name}/password"] for name in principals()}) == len(principals())
    assert {name for name, text in made.items() if b"PRIVATE KEY" in text} == {
        f"{name}/{name}.pem" for name in (BROKER, ADMIN)
    }


def test_secrets_are_for_their_owner_and_the_brokers_for_the_group_too(tmp_path: Path) -> None:
    prepare(tmp_path, ["kafka"], NOW)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in contents(tmp_path)}
    assert modes.pop(f"{BROKER}/{BROKER}.pem") == 0o640
    assert {mode for name, mode in modes.items() if not name.endswith("ca.pem")} == {0o600}


def test_what_is_there_stays(tmp_path: Path) -> None:
    prepare(tmp_path, ["kafka"], NOW)
    before = contents(tmp_path)
    assert not prepare(tmp_path, ["kafka"], NOW)
    assert contents(tmp_path) == before


def test_certificates_that_end_soon_are_made_anew_and_passwords_stay(tmp_path: Path) -> None:
    prepare(tmp_path, ["kafka"], NOW)
    before = contents(tmp_path)
    ends = lasts_until(tmp_path / BROKER / f"{BROKER}.pem")
    assert ends is not None
    assert not prepare(tmp_path, ["kafka"], ends - MARGIN - timedelta(minutes=1))
    assert prepare(tmp_path, ["kafka"], ends - MARGIN + timedelta(minutes=1))
    after = contents(tmp_path)
    same = {name for name in before if before[name] == after[name]}
    assert same == {f"{name}/password" for name in principals()}


def dying(after: int) -> Callable[..., Path]:
    """Issues so many certificates, and is killed at the next."""
    issue, left = Authority.issue, iter([True] * after)

    def issue_or_die(self: Authority, name: str, *addresses: str, into: Path | None = None) -> Path:
        if next(left, False):
            return issue(self, name, *addresses, into=into)
        raise KeyboardInterrupt

    return issue_or_die


def test_killed_on_the_way_it_is_made_whole_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority's key is gone with the process: half of its certificates are worth nothing."""

    for lives in range(2):
        monkeypatch.setattr(Authority, "issue", dying(after=lives))
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, ["kafka"], NOW)
        monkeypatch.undo()
    assert prepare(tmp_path, ["kafka"], NOW)
    assert len({text for name, text in contents(tmp_path).items() if name.endswith("ca.pem")}) == 1


def test_a_user_that_comes_later_gets_their_own_and_the_others_keep_theirs(tmp_path: Path) -> None:
    prepare(tmp_path, ["kafka"], NOW)
    gone = tmp_path / principals()[0]
    (gone / "password").unlink()
    (gone / "ca.pem").unlink()
    before = contents(tmp_path)
    assert not prepare(tmp_path, ["kafka"], NOW)
    after = contents(tmp_path)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {f"{gone.name}/password", f"{gone.name}/ca.pem"}


def test_a_users_password_is_read_where_it_lies_by_itself_and_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("plain\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "password").write_text("within\n")
    assert [kept(tmp_path, name) for name in ("a", "b")] == ["plain", "within"]
    assert kept(tmp_path, "c") == (tmp_path / "c").read_text()
