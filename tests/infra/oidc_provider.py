"""A real OpenID provider for tests: a process of Node's, installed once into a cache by its lock file."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx

from deploy.local.processes import Child, free_port

HERE = Path(__file__).parent / "oidc"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hostler"
INSTALL_SECONDS = 180.0
START_SECONDS = 60.0
_REDIRECTS = range(300, 400)


def installed() -> Path:
    """The folder whose node_modules hold the provider, as the lock file pins it."""
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = CACHE / f"oidc-provider-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "oidc-provider.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_SECONDS)  # noqa: S603
            (folder / "done").touch()
    return folder


@dataclass(frozen=True)
class RunningProvider:
    """A provider that answers."""

    issuer: str

    async def log_in(self, browser: httpx.AsyncClient, url: str, who: str) -> str:
        """Go to the provider and through its forms, as somebody would; where it sends them back."""
        answer = await browser.get(url)
        for _ in range(12):
            if answer.status_code in _REDIRECTS:
                target = urljoin(str(answer.url), answer.headers["location"])
                if not target.startswith(self.issuer):
                    return target
                answer = await browser.get(target)
                continue
            action = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert action is not None, answer.text
            is_login = 'name="login"' in answer.text
            form = {"prompt": "login", "login": who, "password": "any"}
            answer = await browser.post(action[1], data=form if is_login else {"prompt": "consent"})
        raise AssertionError("the provider never sends anybody back")


@contextmanager
def running_provider(
    people: Mapping[str, object], clients: list[dict[str, object]], port: int | None = None
) -> Generator[RunningProvider]:
    """One with these people (id → claims), until the end of the block."""
    port, folder = port or free_port(), installed()
    told = json.dumps({"port": port, "people": people, "clients": clients})
    environment = {**os.environ, "OIDC_TEST": told, "OIDC_MODULES": str(folder)}
    issuer = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as logs:
        process = Child(
            "oidc-provider",
            ["node", str(HERE / "provider.mjs")],
            log=Path(logs) / "log",
            environment=environment,
        )
        try:
            process.start()
            process.wait_until(lambda: _answers(issuer), START_SECONDS)
            yield RunningProvider(issuer)
        finally:
            process.kill()


def _answers(issuer: str) -> bool:
    try:
        return httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=5).is_success
    except httpx.HTTPError:
        return False
