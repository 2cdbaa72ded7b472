"""From SQLite rows to frozen dataclasses and back, by field type."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def load(cls: type[T], row: Mapping[str, Any]) -> T:
    """Build ``cls`` from a row whose columns have the names of its fields (others are ignored)."""
    return cls(**{name: convert(row[name]) for name, convert in _loaders(cls)})  # type: ignore[operator]


@cache
def _loaders(cls: type) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    hints = get_type_hints(cls)
    return tuple((each.name, _loader(hints[each.name])) for each in fields(cls))


def _loader(hint: Any) -> Callable[[Any], Any]:
    origin = get_origin(hint)
    if origin is types.UnionType:
        inner = next(each for each in get_args(hint) if each is not types.NoneType)
        convert = _loader(inner)
        return convert if convert is _same else lambda value: None if value is None else convert(value)
    if origin is tuple:
        return lambda value: tuple(json.loads(value))
    if origin is dict:
        return json.loads
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return bool if hint is bool else _same


def _same(value: Any) -> Any:
    return value


def dump(value: Any) -> str:
    """JSON text as columns keep it: compact, keys sorted, so that equal values are equal text."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
