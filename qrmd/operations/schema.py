"""From JSON-like input to typed values: dataclasses as structs, unknown keys and wrong types refused by name."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from qrmd.errors import InvalidInput
from qrmd.names import shown

T = TypeVar("T")
Convert = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of a number: ``Annotated[int, Range(1, 64)]``. Decimal strings are accepted for integers."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Length:
    """Longest text in characters: ``Annotated[str, Length(63)]``."""

    most: int


@dataclass(frozen=True, slots=True)
class Check:
    """A function that returns the value or raises InvalidInput: ``Annotated[str, Check(check_name)]``."""

    function: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Served:
    """A type that a started plugin serves now; who asks is told which there are, the verb refuses others itself.

    Attributes:
        kind: ``virtualization`` or ``deployment``.
        also: what else it takes.
    """

    kind: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What every changing verb takes.

    Attributes:
        key: idempotency: the same caller asking the same verb with the same key gets the first answer.
        reason: kept with every event of the operation.
        dry_run: return the plan, change nothing.
    """

    key: Annotated[str, Length(200)] = ""
    reason: Annotated[str, Length(500)] = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What every list takes.

    Attributes:
        fields: names of fields to return (empty: all).
        where: field → value that must be equal.
        limit: rows of a page, 1 to 1000.
        after: id of the last row seen.
        search: text that the object's names hold, in upper or lower case.
        order: field to order by, ``-field``: the largest first (empty: id); its pages go by ``skip``.
        skip: rows to leave out before the page.
    """

    fields: tuple[Annotated[str, Length(64)], ...] = ()
    where: dict[str, Any] | None = None
    limit: Annotated[int, Range(1, 1000)] = 1000
    after: Annotated[int, Range(0, 2**53)] = 0
    search: Annotated[str, Length(100)] = ""
    order: Annotated[str, Length(64)] = ""
    skip: Annotated[int, Range(0, 2**53)] = 0

    def refuse_search(self) -> None:
        """For lists that only go by ids. Raises InvalidInput."""
        for name in ("search", "order", "skip"):
            if getattr(self, name):
                raise InvalidInput(f"this list does not know {name}", hint="it goes by ids: after", field=name)


Ref = int | str
"""An object by id or by name. Names are never digits only, so digits are an id, also as text."""

MAX_TEXT = 16_384
LARGEST = 2**63 - 1
"""Of integers: what a row can hold."""
_DECIMAL = re.compile(r"-?[0-9]{1,19}")


def convert(hint: Any, value: Any, path: str) -> Any:
    """The value as ``hint`` wants it.

    Args:
        path: how to name the place in errors (``spec.cpus``); an error's ``data["field"]`` is such a path.

    Raises:
        InvalidInput: wrong type, unknown key, missing key, out of bounds.
    """
    return _converter(hint)(value, path)


@cache
def _converter(hint: Any) -> Convert:  # noqa: PLR0911 - a line per kind of hint
    origin = get_origin(hint)
    if origin is Annotated:
        base, *limits = get_args(hint)
        return _limited(_converter(base), tuple(limits))
    if origin in (types.UnionType, Union):
        return _union(get_args(hint))
    if origin is tuple:
        return _sequence(_converter(get_args(hint)[0]))
    if origin is dict or hint is dict:
        return _mapping
    if isinstance(hint, type) and is_dataclass(hint):
        return _struct(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    return _SCALARS[hint]


def _integer(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _wrong(path, "an integer", value)
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise _wrong(path, "an integer", value)
    number = int(value)
    if abs(number) > LARGEST:
        raise _wrong(path, "an integer of at most 63 bits", number)
    return number


def _number(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, "a number", value)
    return float(value)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "text", value)
    if len(value) > MAX_TEXT:
        raise InvalidInput(f"{path} is longer than {MAX_TEXT} characters", field=path)
    if "\x00" in value:
        raise InvalidInput(f"{path} holds a NUL character", field=path)
    return value


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
    return value


def _anything(value: Any, _path: str) -> Any:
    return value


_SCALARS: dict[Any, Convert] = {int: _integer, float: _number, str: _text, bool: _boolean, Any: _anything}


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _wrong(path, "a struct", value)
    for key, each in value.items():
        if isinstance(each, int) and abs(each) > LARGEST:
            raise _wrong(f"{path}.{shown(key)}", "an integer of at most 63 bits", each)
    return dict(value)


def _sequence(inner: Convert) -> Convert:
    def convert_all(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _wrong(path, "an array", value)
        if len(value) > 1000:
            raise InvalidInput(f"{path} has more than 1000 entries")
        return tuple(inner(each, f"{path}[{index}]") for index, each in enumerate(value))

    return convert_all


def _union(members: tuple[Any, ...]) -> Convert:
    optional = types.NoneType in members
    converters = [_converter(each) for each in members if each is not types.NoneType]

    def convert_any(value: Any, path: str) -> Any:
        if value is None and optional:
            return None
        if len(converters) == 1:
            return converters[0](value, path)
        if set(members) == {int, str}:
            return _reference(value, path)
        raise _wrong(path, "something else", value)

    return convert_any


def _reference(value: Any, path: str) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value, path)
    text = _text(value, path)
    return _integer(text, path) if text.isascii() and text.isdecimal() else text


def _enum(enum: type[Enum]) -> Convert:
    def convert_member(value: Any, path: str) -> Enum:
        try:
            return enum(value)
        except ValueError:
            raise _wrong(path, "one of " + ", ".join(str(each.value) for each in enum), value) from None

    return convert_member


def _struct(cls: type[T]) -> Convert:
    hints = get_type_hints(cls, include_extras=True)
    members = {each.name: _converter(hints[each.name]) for each in fields(cls)}  # type: ignore[arg-type]
    required = {
        each.name
        for each in fields(cls)  # type: ignore[arg-type]
        if each.default is MISSING and each.default_factory is MISSING
    }

    def convert_struct(value: Any, path: str) -> T:
        if not isinstance(value, Mapping):
            raise _wrong(path, "a struct", value)
        for key in value:
            if key not in members:
                raise InvalidInput(f"{path} has no key {shown(str(key))}", hint="known: " + ", ".join(members))
        missing = sorted(required - set(value))
        if missing:
            raise InvalidInput(f"{path} lacks {', '.join(missing)}", field=f"{path}.{missing[0]}")
        return cls(**{key: members[key](each, f"{path}.{key}") for key, each in value.items()})

    return convert_struct


def _limited(inner: Convert, limits: tuple[Any, ...]) -> Convert:
    def convert_limited(value: Any, path: str) -> Any:
        converted = inner(value, path)
        for limit in limits:
            converted = _apply(limit, converted, path)
        return converted

    return convert_limited


def _apply(limit: Any, value: Any, path: str) -> Any:
    match limit:
        case Range(least=least, most=most):
            if not least <= value <= most:
                raise InvalidInput(f"{path} must be {least:g} to {most:g}, not {str(value)[:24]}", field=path)
        case Length(most=most):
            if len(value) > most:
                raise InvalidInput(f"{path} is longer than {most} characters", field=path)
        case Check(function=function):
            try:
                return function(value)
            except InvalidInput as error:
                raise InvalidInput(f"{path}: {error.message}", hint=error.hint, field=path) from None
    return value


def _wrong(path: str, wanted: str, value: Any) -> InvalidInput:
    return InvalidInput(f"{path} must be {wanted}, not {shown(str(value))}", field=path)
