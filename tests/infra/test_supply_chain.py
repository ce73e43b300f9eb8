"""What Hostler is made of is held against what may be in it, and what was not looked at is said."""

import json
from pathlib import Path

import pytest

from deploy import supply_chain


def test_a_licence_that_is_not_allowed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    licensed = [("good", "MIT"), ("both", "Apache-2.0 OR BSD-3-Clause"), ("bad", "GPL-3.0-only")]
    assert supply_chain.judge(licensed) == 1
    assert capsys.readouterr().out == "bad: GPL-3.0-only\n"


def test_no_licence_is_none_that_is_allowed() -> None:
    assert supply_chain.judge([("silent", "UNKNOWN")]) == 1
    assert supply_chain.judge([("half", "MIT AND AGPL-3.0-only")]) == 1
    assert supply_chain.judge([("fine", "MIT License; Apache Software License")]) == 0


class Audited:
    """A pip-audit that writes this report, or none."""

    def __init__(self, report: object) -> None:
        self.report = report
        self.stderr = "…\nConnectionError: no advisories"

    def __call__(self, command: list[str], **_: object) -> "Audited":
        if command[0].endswith("pip-audit") and self.report is not None:
            Path(command[-1]).write_text(json.dumps(self.report))
        return self


FINE: dict[str, object] = {"name": "fine", "version": "1", "vulns": []}
HOLE: dict[str, object] = {
    "name": "old",
    "version": "1",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}],
}
UNSEEN: dict[str, object] = {"name": "unseen", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status", "told"),
    [
        ([FINE], 0, "1 packages audited, 0 holes"),
        ([FINE, HOLE], 1, "old 1: CVE-1, fixed in ['2']"),
        ([UNSEEN], 0, "NOT AUDITED: 1 of 1: not found"),
        ([FINE, HOLE, UNSEEN], 1, "NOT AUDITED: 1 of 3: not found"),
        (None, 0, "NOT AUDITED: ConnectionError: no advisories"),
    ],
)
def test_an_audit_says_what_it_found_and_what_it_did_not_see(
    packages: list[object] | None,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = None if packages is None else {"dependencies": packages}
    monkeypatch.setattr(supply_chain.subprocess, "run", Audited(report))
    assert supply_chain.main(["audit"]) == status
    assert told in capsys.readouterr().out


def test_where_advisories_have_to_be_had_their_lack_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTLER_AUDIT_STRICT", "1")
    monkeypatch.setattr(supply_chain.subprocess, "run", Audited(None))
    assert supply_chain.main(["audit"]) == 1
