"""The demo's story on the terminal: what was asked, what came, and when."""

import threading
import time
from typing import Final

from rich.console import Console
from rich.text import Text

CONSOLE: Final = Console(highlight=False, soft_wrap=True)


class Timeline:
    """Prints one line per happening with the seconds since `zero`; safe from several threads."""

    def __init__(self, console: Console = CONSOLE) -> None:
        self._console = console
        self._lock = threading.Lock()
        self.zero = time.monotonic()

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        with self._lock:
            self._console.print(f"\n[bold]{title}[/]")

    def asked(self, what: str) -> None:
        """A request that the demo makes."""
        self._line("→", what, "cyan")

    def answered(self, what: str) -> None:
        """What was answered, and found to be as it should."""
        self._line("✓", what, "green")

    def heard(self, what: str) -> None:
        """An event that came over the stream."""
        self._line("⚡", what, "magenta")

    def said(self, what: str) -> None:
        """Anything else: progress."""
        self._line(" ", what, "dim")

    def _line(self, sign: str, what: str, style: str) -> None:
        text = Text(f"t+{time.monotonic() - self.zero:6.2f}s  ", style="dim")
        text.append(f"{sign} {what}", style=style)
        with self._lock:
            self._console.print(text)
