"""Checks request bodies as Nova does: a small part of JSON Schema, with its words for what is wrong."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import unicodedata
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from simulator.api import ApiError, is_array, is_object


class Invalid(Exception):
    """What is wrong, where (the last step of the path, none at the root), and with which value."""

    def __init__(self, message: str, value: object, field_name: str | int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.field_name = field_name


class Rule(Protocol):
    """Something a JSON value may be checked against."""

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        ...


_KINDS: Mapping[type, str] = {
    bool: "boolean", int: "integer", float: "number", str: "string", list: "array",
    dict: "object",
}  # fmt: skip


def _kind(value: object) -> str:
    """By the very type: these come out of the JSON parser."""
    return _KINDS.get(type(value), "null")


def _type(value: object, *allowed: str) -> None:
    if _kind(value) not in allowed:
        names = ", ".join(repr(name) for name in allowed)
        raise Invalid(f"{value!r} is not of type {names}", value)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text)  # as lenient as Nova: stray characters are skipped
    except (ValueError, binascii.Error):
        return False
    return True


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID, with dashes or without."""
    try:
        return str(uuid.UUID(text)).replace("-", "") == text.lower().replace("-", "")
    except ValueError:
        return False


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_printable(text: str) -> bool:
    """Nova's rule for free text: no control, format or unassigned character, spaces allowed."""
    return all(
        unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in text
    )


def is_name(text: str) -> bool:
    """Nova's rule for names: printable, no white space at either end."""
    return is_printable(text) and text == text.strip()


NAME_WORDS = (
    "An invalid 'name' value was provided. The name must be: printable characters. "
    "Can not start or end with whitespace."
)
FORMATS: Mapping[str, Callable[[str], bool]] = {
    "base64": _is_base64,
    "uuid": is_uuid,
    "ip": _is_ip,
    "printable": is_printable,
}


@dataclass(frozen=True, slots=True)
class Text:
    """A string; lengths in characters."""

    shortest: int = 0
    longest: int = 2**31
    pattern: str = ""
    form: str = ""
    null: bool = False

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        _type(value, "string", *(("null",) if self.null else ()))
        if not isinstance(value, str):
            return
        if len(value) < self.shortest:
            words = "should be non-empty" if self.shortest == 1 else "is too short"
            raise Invalid(f"{value!r} {words}", value)
        if len(value) > self.longest:
            raise Invalid(f"{value!r} is too long", value)
        if self.pattern and not re.search(self.pattern, value):
            raise Invalid(f"{value!r} does not match {self.pattern!r}", value)
        if self.form and not FORMATS[self.form](value):
            raise Invalid(f"{value!r} is not a {self.form!r}", value)


@dataclass(frozen=True, slots=True)
class Name:
    """A name of 1 to 255 characters; its own words where the characters are wrong."""

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        Text(shortest=1, longest=255).check(value)
        if isinstance(value, str) and not is_name(value):
            raise ApiError(400, NAME_WORDS)


@dataclass(frozen=True, slots=True)
class Kind:
    """A value of one of these JSON types, whatever it holds."""

    allowed: Sequence[str]

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        _type(value, *self.allowed)


@dataclass(frozen=True, slots=True)
class Boolean:
    """A boolean, or one of the words Nova takes for one."""

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        words = ("true", "t", "1", "on", "yes", "y", "false", "f", "0", "off", "no", "n")
        if not isinstance(value, bool) and str(value).lower() not in words:
            raise Invalid(f"{value!r} is not one of {[True, False, *words]!r}", value)


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number of one or more, as number or text."""

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        _type(value, "integer", "string")
        if not re.fullmatch("[0-9]*", str(value)):
            raise Invalid(f"{value!r} does not match '^[0-9]*$'", value)
        if not value or int(str(value)) < 1:
            raise Invalid(f"{value!r} is less than the minimum of 1", value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these words."""

    words: Sequence[str]

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        if value not in self.words:
            raise Invalid(f"{value!r} is not one of {list(self.words)!r}", value)


@dataclass(frozen=True, slots=True)
class Either:
    """Whatever fits one of these rules."""

    rules: Sequence[Rule]

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        for rule in self.rules:
            try:
                rule.check(value)
            except Invalid:
                continue
            return
        raise Invalid(f"{value!r} is not valid under any of the given schemas", value)


@dataclass(frozen=True, slots=True)
class Array:
    """A list of values that fit one rule."""

    items: Rule
    longest: int = 2**31
    unique: bool = False

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        _type(value, "array")
        if not is_array(value):
            return
        for index, item in enumerate(value):
            _inside(index, self.items, item)
        if len(value) > self.longest:
            raise Invalid(f"{value!r} is too long", value)
        if self.unique and any(item in value[:index] for index, item in enumerate(value)):
            raise Invalid(f"{value!r} has non-unique elements", value)


@dataclass(frozen=True, slots=True)
class Object:
    """An object of these fields and no others (unless `loose`)."""

    fields: Mapping[str, Rule]
    required: Sequence[str] = ()
    loose: bool = False

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        _type(value, "object")
        if not is_object(value):
            return
        for name, rule in self.fields.items():
            if name in value:
                _inside(name, rule, value[name])
        for name in self.required:
            if name not in value:
                raise Invalid(f"{name!r} is a required property", value)
        extra = [name for name in value if name not in self.fields]
        if extra and not self.loose:
            names = ", ".join(repr(name) for name in sorted(extra))
            verb = "was" if len(extra) == 1 else "were"
            raise Invalid(
                f"Additional properties are not allowed ({names} {verb} unexpected)", value
            )


@dataclass(frozen=True, slots=True)
class Items:
    """An object whose keys match a pattern and whose values fit one rule."""

    keys: str
    values: Rule = field(default_factory=lambda: Text(longest=255))

    def check(self, value: object) -> None:
        """Raise Invalid unless the value fits."""
        _type(value, "object")
        if not is_object(value):
            return
        odd = [key for key in value if not re.search(self.keys, key)]
        for key, item in value.items():
            if key not in odd:
                _inside(key, self.values, item)
        if odd:
            names = ", ".join(repr(key) for key in sorted(odd))
            verb = "does" if len(odd) == 1 else "do"
            raise Invalid(f"{names} {verb} not match any of the regexes: {self.keys!r}", value)


def _inside(name: str | int, rule: Rule, value: object) -> None:
    try:
        rule.check(value)
    except Invalid as finding:
        if finding.field_name is None:
            finding.field_name = name
        raise


def require(rule: Rule, body: object) -> dict[str, object]:
    """The body, which fits the rule and is an object; else ApiError 400 in Nova's words."""
    try:
        rule.check(body)
    except Invalid as bad:
        raise ApiError(400, words(bad)) from bad
    if not is_object(body):
        raise ApiError(400, f"{body!r} is not of type 'object'")
    return body


def words(bad: Invalid, what: str = "field/attribute") -> str:
    """Nova's sentence for a finding."""
    if bad.field_name is None:
        return bad.message
    return f"Invalid input for {what} {bad.field_name}. Value: {bad.value}. {bad.message}"
