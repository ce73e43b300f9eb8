"""The ways to end work that did not succeed: try again later, or never. Anything else is a bug."""

from datetime import timedelta

from contracts.errors import MEANINGS, ErrorCode
from contracts.operation.states import OperationError


class HostlerError(Exception):
    """A failure with a machine-readable code and a sentence for people."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        self.code = code
        self.detail = detail or MEANINGS[code].sentence
        super().__init__(f"{code}: {self.detail}")

    @property
    def error(self) -> OperationError:
        """The same as it stands in messages."""
        return OperationError(code=self.code, detail=self.detail)


class Retry(HostlerError):
    """Try again, after `after` if the other side said how long, else with backoff.

    `uncertain` says that the other side may have done what was asked, so that the next attempt has
    to look before it asks again. `blocked_on` names what has to be made room for, e.g. `quota`.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str = "",
        *,
        after: timedelta | None = None,
        uncertain: bool = False,
        blocked_on: str | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.after = after
        self.uncertain = uncertain
        self.blocked_on = blocked_on


class Terminal(HostlerError):
    """Never try again: the other side has answered, and the answer is no."""
