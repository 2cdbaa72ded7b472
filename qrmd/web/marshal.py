"""Values as XML-RPC: what verbs return and faults. Pure, and fast: it is on the way of every call.

Integers beyond 32 bits become decimal strings, fields that are None are left out, text that XML can't hold
(control characters) is replaced by U+FFFD.
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
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_HEAD = "<?xml version='1.0'?>\n<methodResponse>\n"


def dump_result(value: Any) -> bytes:
    """A whole answer. A verb that returns nothing answers true."""
    text = _marshal(True if value is None else value)
    return f"{_HEAD}<params>\n<param>\n{text}</param>\n</params>\n</methodResponse>\n".encode()


def dump_fault(code: int, message: str) -> bytes:
    """A whole answer that is a fault."""
    text = _marshal({"faultCode": code, "faultString": message})
    return f"{_HEAD}<fault>\n{text}</fault>\n</methodResponse>\n".encode()


def _marshal(value: Any) -> str:
    writer = _WRITERS.get(type(value))
    return writer(value) if writer is not None else _other(value)


def _escaped(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text)


def _text(value: str) -> str:
    return f"<value><string>{_escaped(value)}</string></value>\n"


def _integer(value: int) -> str:
    if -_LARGEST <= value <= _LARGEST:
        return f"<value><int>{value}</int></value>\n"
    return f"<value><string>{value}</string></value>\n"


def _boolean(value: bool) -> str:
    return "<value><boolean>1</boolean></value>\n" if value else "<value><boolean>0</boolean></value>\n"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return f"<value><string>{value}</string></value>\n"
    return f"<value><double>{value!r}</double></value>\n"


def _struct(value: Mapping[Any, Any]) -> str:
    parts = ["<value><struct>\n"]
    for name, each in value.items():
        if each is not None:
            parts.append(f"<member>\n<name>{_escaped(str(name))}</name>\n{_marshal(each)}</member>\n")
    parts.append("</struct></value>\n")
    return "".join(parts)


def _array(value: Any) -> str:
    return f"<value><array><data>\n{''.join(map(_marshal, value))}</data></array></value>\n"


def _bytes(value: bytes) -> str:
    return f"<value><base64>{b64encode(value).decode()}</base64></value>\n"


def _moment(value: datetime) -> str:
    return _text(value.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _nothing(_value: None) -> str:
    return "<value><nil/></value>\n"


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
