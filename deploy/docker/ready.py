"""A container's health check: 0 if a URL, the argument, answers with success.

A file, as some engines split the words of a check at their spaces.
"""

import sys
from http.client import HTTPException
from urllib.request import urlopen


def main(url: str) -> int:
    """0 or, with the reason on stdout for the engine to show, 1."""
    try:
        with urlopen(url, timeout=5):  # noqa: S310 - the URL is the container's own
            return 0
    except (OSError, HTTPException) as error:
        print(f"{url}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
