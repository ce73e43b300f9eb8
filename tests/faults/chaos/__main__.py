"""`make chaos [SEED=n] [MINUTES=m]`: 0 if everything held, 1 if not, with the folder of the logs."""

import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from deploy.local.kafka_jars import FetchError
from deploy.local.processes import StartError
from deploy.local.up import interrupt
from tests.faults.chaos.report import table
from tests.faults.chaos.run import run


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    minutes = float(os.environ.get("MINUTES") or 3)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    folder.chmod(0o755)
    say(f"SEED={seed} MINUTES={minutes:g}, logs in {folder}")
    try:
        outcome = run(seed, minutes * 60, folder)
    except (StartError, FetchError) as error:
        say(f"not up: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    text = table(outcome)
    (folder / "report.txt").write_text(text)
    say(text)
    if outcome.ok:
        shutil.rmtree(folder)
        return 0
    say(f"the logs, and chaos.log with all that was done, are kept in {folder}")
    return 1


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the terminal is where it is read


if __name__ == "__main__":
    sys.exit(main())
