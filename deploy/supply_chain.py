"""What Hostler is made of: known holes in it, licences it comes under, and a bill of materials.

    python -m deploy.supply_chain audit | licences | sbom FILE

All three look at what uv.lock pins, by hash. `audit` asks PyPI's advisories; where those cannot be
reached it says so and passes, unless HOSTLER_AUDIT_STRICT is set: an outage there is not a hole here.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

BIN = Path(sys.executable).parent
UV = os.environ.get("UV", "uv")
ALLOWED = {
    "0BSD",
    "3-Clause BSD License",
    "Apache Software License",
    "Apache-2.0",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "DFSG approved",
    "ISC",
    "LGPL-3.0-only",
    "MIT",
    "MIT License",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0",
    "Python Software Foundation License",
    "The Unlicense (Unlicense)",
    "Zlib",
}
"""Licences under which what we use may be used with Apache-2.0: permissive ones, and weak copyleft
(LGPL: psycopg, MPL) of what is imported and not changed."""
READ = {"zxcvbn-rs-py": "MIT"}
"""Packages whose metadata name no licence, with the one that stands in their files."""
_JOINED = re.compile(r" AND | OR |; ")


def main(arguments: list[str]) -> int:
    """0: nothing was found; 1: something was."""
    match arguments:
        case ["audit"]:
            return audit()
        case ["licences"]:
            return licences()
        case ["sbom", target]:
            return sbom(Path(target))
        case _:
            print(__doc__)
            return 2


def audit() -> int:
    """Ask for known vulnerabilities of every locked version."""
    with tempfile.TemporaryDirectory() as folder:
        locked, report = Path(folder, "locked.txt"), Path(folder, "report.json")
        _export("requirements.txt", locked)
        options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off"]
        command = [str(BIN / "pip-audit"), "-r", str(locked), *options, "-f", "json"]
        done = subprocess.run(
            [*command, "-o", str(report)], capture_output=True, text=True, check=False
        )
        if not report.exists():
            return _not_audited(done.stderr)
        return _told(json.loads(report.read_text()))


def licences() -> int:
    """Hold every installed distribution against the list of licences."""
    command = [str(BIN / "pip-licenses"), "--from=mixed", "--format=json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return judge((each["Name"], each["License"]) for each in found)


def judge(licensed: Iterable[tuple[str, str]]) -> int:
    """Print each distribution with a licence that is not allowed; 1 if there is one."""
    refused = [
        f"{name}: {READ.get(name, licence)}"
        for name, licence in licensed
        if not set(_JOINED.split(READ.get(name, licence))) <= ALLOWED
    ]
    print(*refused or ["every licence is one of those allowed"], sep="\n")
    return int(bool(refused))


def sbom(target: Path) -> int:
    """Write a CycloneDX 1.5 document of what runs, without what only develops it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _export("cyclonedx1.5", target, "--no-dev")
    parts = json.loads(target.read_text())["components"]
    print(f"{target}: {len(parts)} components")
    return 0


def _export(kind: str, target: Path, *options: str) -> None:
    """What is locked, in a format of `uv export`."""
    asked = ["--frozen", "--all-extras", "--no-emit-project", *options]
    command = [UV, "export", "--quiet", *asked, "--format", kind, "--output-file", str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _not_audited(why: str) -> int:
    last = why.strip().splitlines()[-1:] or ["no report"]
    print(f"NOT AUDITED: {last[0][:300]}")
    return int(bool(os.environ.get("HOSTLER_AUDIT_STRICT")))


def _told(report: dict[str, Any]) -> int:
    """What is skipped was not looked at: an index that knows no advisories says nothing good."""
    packages = cast("list[dict[str, Any]]", report["dependencies"])
    skipped = [str(each["skip_reason"]) for each in packages if "skip_reason" in each]
    holes = [
        f"{each['name']} {each['version']}: {hole['id']}, fixed in {hole['fix_versions'] or 'none'}"
        for each in packages
        for hole in each.get("vulns", [])
    ]
    print(*holes, f"{len(packages) - len(skipped)} packages audited, {len(holes)} holes", sep="\n")
    missed = _not_audited(f"{len(skipped)} of {len(packages)}: {skipped[0]}") if skipped else 0
    return int(bool(holes)) or missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
