"""Things found by their tags, whatever there is beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence


class Tagged:
    """An index from tag to the ids of what carries it, in the order in which they got it."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, None]] = {}

    def put(self, ident: str, tags: Iterable[str]) -> None:
        """It carries these tags from now on."""
        for tag in tags:
            self._ids.setdefault(tag, {})[ident] = None

    def drop(self, ident: str, tags: Iterable[str]) -> None:
        """It carries them no more."""
        for tag in tags:
            found = self._ids.get(tag, {})
            found.pop(ident, None)
            if not found:
                self._ids.pop(tag, None)

    def ids(self, tag: str) -> Sequence[str]:
        """What carries the tag."""
        return list(self._ids.get(tag, {}))


def fits(tags: Sequence[str], filters: Mapping[str, Sequence[str]]) -> bool:
    """Whether a list's filters on tags let these through: all, any, not all, not any of them."""
    had = set(tags)
    for name, test in _TESTS.items():
        for wanted in filters.get(name, ()):
            if not test(set(wanted.split(",")), had):
                return False
    return True


_TESTS: Mapping[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda wanted, had: wanted <= had,
    "tags-any": lambda wanted, had: bool(wanted & had),
    "not-tags": lambda wanted, had: not wanted <= had,
    "not-tags-any": lambda wanted, had: not wanted & had,
}
FILTERS = frozenset(_TESTS)
