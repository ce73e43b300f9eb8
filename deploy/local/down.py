"""`make down`: ends the stack that `make up` runs in another terminal."""

import os
import signal
import sys

from deploy.local.processes import wait_until
from deploy.local.stack import holder, local_folder


def main() -> int:
    """0 once nothing runs."""
    folder = local_folder()
    pid = holder(folder)
    if pid is None:
        print("nothing is up")
        return 0
    print(f"ending the stack of process {pid} …")
    os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: holder(folder) is None, 60):
        print(f"process {pid} still runs after 60 s: see {folder}/logs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
