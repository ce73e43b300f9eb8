"""The services' JSON logs as one coloured line per event."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

from rich.text import Text

_COLOURS: Final = {
    "gateway": "cyan",
    "provisioner": "magenta",
    "sync": "green",
    "audit": "blue",
    "simulator": "yellow",
}
_LEVELS: Final = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_IDS: Final = ("vm_id", "operation_id", "request_id")


class LogView:
    """Follows log files from where they end now."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._files: dict[str, IO[str]] = {}
        for name in names:
            if (path := folder / f"{name}.log").exists():
                self._files[name] = path.open(errors="replace")
                self._files[name].seek(0, 2)

    def new_lines(self) -> Iterator[Text]:
        """What has been written since the last call, for a terminal."""
        for name, file in self._files.items():
            for line in file:
                yield render(name, line.rstrip("\n"))

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def render(name: str, line: str) -> Text:
    """One log line; what is not JSON (a traceback at start-up, say) is shown as it is."""
    event = parse(line)
    time = str(event.get("timestamp", ""))[11:19]
    level = str(event.get("level", ""))
    text = Text(f"{time:<9}", style="dim")
    text.append(f"{name:<12}", style=_COLOURS.get(name, "white"))
    text.append(f"{level:<8}" if level else "", style=_LEVELS.get(level, "dim"))
    text.append(str(event.get("message", line)))
    for key in _IDS:
        if key in event:
            text.append(f" {key.removesuffix('_id')}={short(str(event[key]))}", style="dim")
    if "exc_info" in event:
        text.append(f"\n{event['exc_info']}", style="red")
    return text


def parse(line: str) -> dict[str, object]:
    """The JSON object on this line; {} if there is none."""
    try:
        event: object = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, object]", event) if isinstance(event, dict) else {}


def short(identifier: str) -> str:
    """Enough of an id to tell two of them apart: the random end of a time-ordered UUID."""
    return identifier[-8:]
