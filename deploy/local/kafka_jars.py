"""Apache Kafka's jars, fetched once from Maven Central into the user's cache."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

KAFKA_VERSION: Final = "4.4.0"
MINIMUM_JAVA: Final = 17
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
# slf4j-simple writes Kafka's log to stderr, and so into the broker's log file. It must be of the
# line of slf4j-api that Kafka brings.
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>hostler</groupId><artifactId>broker</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class FetchError(RuntimeError):
    """Maven could not bring the jars; the message is its last line."""


def find_java() -> str | None:
    """The path of a Java that is new enough (JAVA_HOME first), or None."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        return None
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', answer.stderr)
    return java if version and int(version[1]) >= MINIMUM_JAVA else None


def cache_folder() -> Path:
    """Where the jars of this version are kept (XDG_CACHE_HOME, else ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hostler" / f"kafka-{KAFKA_VERSION}"


def cached_jars() -> Path | None:
    """The folder with the jars, where an earlier run has fetched them."""
    return cache_folder() if cache_folder().is_dir() else None


def fetch_jars(say: Callable[[str], None], timeout: float = 600.0) -> Path:
    """The folder with the jars, fetched where it is not there; FetchError when that fails.

    Maven checks every file's checksum (`-C`). The folder appears by a rename, so an interrupted
    fetch is never taken for a complete one.
    """
    if (jars := cached_jars()) is not None:
        return jars
    say(f"fetching Apache Kafka {KAFKA_VERSION} (43 MB) from Maven Central, once")
    cache_folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder().parent, prefix=".fetch-") as folder:
        _run_maven(Path(folder), timeout)
        try:
            (Path(folder) / "jars").rename(cache_folder())
        except OSError:
            if cached_jars() is None:  # otherwise another process was faster
                raise
    return cache_folder()


def _run_maven(folder: Path, timeout: float) -> None:
    (folder / "pom.xml").write_text(_POM)
    command = ["mvn", "--batch-mode", "--quiet", "--strict-checksums", _PLUGIN]
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'jars'}"]
    try:
        subprocess.run(
            [*command, *options, "-Daether.connector.connectTimeout=15000"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise FetchError("Maven (mvn) is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"Maven had not finished after {timeout:.0f} s") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in str(error.stdout).splitlines() if "ERROR" in line]
        raise FetchError(lines[0] if lines else "Maven failed") from error
