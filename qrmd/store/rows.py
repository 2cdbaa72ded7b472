"""From SQLite rows to frozen dataclasses and back, by field type."""

from __future__ import annotations

import json
import sqlite3
import types
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from qrmd.clock import to_iso

T = TypeVar("T")

_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False, check_circular=False)
_EMPTY: dict[type, str] = {dict: "{}", list: "[]", tuple: "[]"}


def load(cls: type[T], row: sqlite3.Row | Mapping[str, Any]) -> T:
    """Build ``cls`` from a row whose columns have the names of its fields (others are ignored)."""
    known: Hashable = cls  # type: ignore[assignment]  # a type is hashable; mypy asks its instances
    return cls(*[row[name] if same else convert(row[name]) for name, same, convert in _loaders(known)])


@cache
def _loaders(cls: Hashable) -> tuple[tuple[str, bool, Callable[[Any], Any]], ...]:
    """Name of each field in order, whether its column holds it as it is, and how to make it of its column."""
    assert isinstance(cls, type)  # noqa: S101 - ``cache`` wants a hashable, and a type is one
    hints = get_type_hints(cls)
    loaders = ((each.name, _loader(hints[each.name])) for each in fields(cls))
    return tuple((name, loader is _same, loader) for name, loader in loaders)


def _loader(hint: Any) -> Callable[[Any], Any]:
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        inner = next(each for each in get_args(hint) if each is not types.NoneType)
        convert = _loader(inner)
        return convert if convert is _same else lambda value: None if value is None else convert(value)
    if origin is tuple:
        return lambda value: () if value == "[]" else tuple(orjson.loads(value))
    if origin is dict:
        return lambda value: {} if value == "{}" else orjson.loads(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {member.value: member for member in hint}.__getitem__
    return bool if hint is bool else _same


def _same(value: Any) -> Any:
    return value


def dump(value: Any) -> str:
    """JSON text as columns keep it: compact, keys sorted, so that equal values are equal text."""
    if not value:
        empty = _EMPTY.get(type(value))
        if empty is not None:
            return empty
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # keys that are no text, integers beyond 64 bits
        return _ENCODER.encode(value)


def shape(row: sqlite3.Row) -> dict[str, Any]:
    """A row as interfaces show it: JSON columns decoded, times as ISO 8601, a time of 0 is none."""
    special = _SHOWN
    return {
        name: special[name](value) if name in special else value for name, value in zip(row.keys(), row, strict=True)
    }


def shapes(rows: Iterable[sqlite3.Row]) -> list[dict[str, Any]]:
    """Rows as interfaces show them."""
    return [shape(row) for row in rows]


def _decoded(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value


def _moment(value: Any) -> str | None:
    return to_iso(value) if value else None


_JSON = (
    "facts", "candidates", "dns", "networks", "ssh_keys", "placement", "arguments", "fault", "data", "result", "args",
    "nics", "volumes", "workflow", "debts",
)  # fmt: skip
_TIMES = ("at", "created_at", "seen_at", "active_at", "started_at", "ended_at", "began_at", "wake_at", "deadline")
_SHOWN: dict[str, Callable[[Any], Any]] = {**dict.fromkeys(_JSON, _decoded), **dict.fromkeys(_TIMES, _moment)}
"""What is shown otherwise than its column holds it."""
