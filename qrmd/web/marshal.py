"""Values as XML-RPC: what verbs return and faults. Pure, and fast: it is on the way of every call.

Integers beyond 32 bits become decimal strings, fields that are None are left out, text that XML can't hold
(control characters) is replaced by U+FFFD. Nothing is indented: white space is read by clients too.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

_LARGEST = 2**31 - 1
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
MOST_HEADS, LONGEST_HEAD = 2048, 40
_HEADS: dict[str, str] = {}
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_has_special = _SPECIAL.search
_HEAD = "<?xml version='1.0'?>\n<methodResponse>"


def dump_result(value: Any) -> bytes:
    """A whole answer. A verb that returns nothing answers true."""
    text = _marshal(True if value is None else value)
    return f"{_HEAD}<params><param>{text}</param></params></methodResponse>\n".encode()


def dump_fault(code: int, message: str) -> bytes:
    """A whole answer that is a fault."""
    text = _marshal({"faultCode": code, "faultString": message})
    return f"{_HEAD}<fault>{text}</fault></methodResponse>\n".encode()


def _marshal(value: Any) -> str:
    writer = _WRITERS.get(type(value), _other)
    return writer(value)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text)


def _text(value: str) -> str:
    if _has_special(value):
        value = _escaped(value)
    return f"<value><string>{value}</string></value>"


def _integer(value: int) -> str:
    if -_LARGEST <= value <= _LARGEST:
        return f"<value><int>{value}</int></value>"
    return f"<value><string>{value}</string></value>"


def _boolean(value: bool) -> str:
    return "<value><boolean>1</boolean></value>" if value else "<value><boolean>0</boolean></value>"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return f"<value><string>{value}</string></value>"
    return f"<value><double>{value!r}</double></value>"


def _struct(value: Mapping[Any, Any]) -> str:
    parts: list[str] = []
    add, heads = parts.append, _HEADS
    for name, each in value.items():
        if each is None:
            continue
        kind = type(each)
        head = heads.get(name) or _head(name)
        if kind is str:
            add(f"{head}<value><string>{_escaped(each) if _has_special(each) else each}</string></value></member>")
        elif kind is int and -_LARGEST <= each <= _LARGEST:
            add(f"{head}<value><int>{each}</int></value></member>")
        else:
            add(f"{head}{_WRITERS.get(kind, _other)(each)}</member>")
    return f"<value><struct>{''.join(parts)}</struct></value>"


def _head(name: Any) -> str:
    """How a member begins. Short names come again and again, so that of so many is remembered."""
    text = str(name)
    head = f"<member><name>{_escaped(text)}</name>"
    if len(_HEADS) < MOST_HEADS and len(text) <= LONGEST_HEAD:
        _HEADS[text] = head
    return head


def _array(value: Any) -> str:
    return f"<value><array><data>{''.join(map(_marshal, value))}</data></array></value>"


def _bytes(value: bytes) -> str:
    return f"<value><base64>{b64encode(value).decode()}</base64></value>"


def _moment(value: datetime) -> str:
    return _text(value.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _nothing(_value: None) -> str:
    return "<value><nil/></value>"


def _other(value: Any) -> str:
    if isinstance(value, Enum):
        return _marshal(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return _struct({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return _struct(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return _WRITERS[kind](value)
    raise TypeError(f"{type(value).__name__} can't be sent by XML-RPC")


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    int: _integer,
    bool: _boolean,
    float: _number,
    dict: _struct,
    list: _array,
    tuple: _array,
    set: _array,
    frozenset: _array,
    bytes: _bytes,
    datetime: _moment,
    type(None): _nothing,
}
