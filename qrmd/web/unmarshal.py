"""A call as XML-RPC: method name and arguments, from bytes that somebody else chose. Pure.

The parser refuses document types, entities and external references (defusedxml); nesting is limited.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any, cast
from xml.parsers.expat import ExpatError

from defusedxml.common import DefusedXmlException
from defusedxml.xmlrpc import DefusedExpatParser

from qrmd.errors import InvalidInput, TooLarge
from qrmd.names import shown
from qrmd.operations.schema import LARGEST

DEEPEST = 100
MOST_VALUES = 100_000

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_MOMENT = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})Z?")
_METHOD = re.compile(r"[A-Za-z0-9_.:/]{1,200}")
_STRUCTURE = frozenset(
    {"methodCall", "methodName", "params", "param", "value", "array", "data", "struct", "member", "name"}
)


def parse_call(body: bytes) -> tuple[str, list[Any]]:
    """Method name and arguments.

    Raises:
        InvalidInput: it is not XML, not a call, or uses what is refused.
        TooLarge: nested too deeply, or too many values.
    """
    reader = _Reader()
    parser: Any = DefusedExpatParser(cast("Any", reader), forbid_dtd=True)
    parser._parser.buffer_text = True  # noqa: SLF001 - one call-back per text, not per line
    try:
        parser.feed(body)
        parser.close()
    except DefusedXmlException as error:
        raise InvalidInput(
            f"the body uses what is refused in XML: {type(error).__name__}",
            hint="send no document type, no entities and no external references",
        ) from None
    except (ExpatError, LookupError, UnicodeError) as error:
        raise InvalidInput(f"the body is not XML: {shown(str(error), 200)}") from None
    if not reader.method:
        raise InvalidInput("the body is not a methodCall with a methodName")
    return reader.method, reader.values


class _Reader:
    """Target of the parser: keeps a stack of values and marks where arrays and structs begin."""

    def __init__(self) -> None:
        self.method = ""
        self.values: list[Any] = []
        self._marks: list[int] = []
        self._text: list[str] = []
        self._open: list[str] = []
        self._typed = False
        self._count = 0

    def xml(self, encoding: str, standalone: Any) -> None:
        """Part of the parser's protocol; expat has the encoding from the document."""

    def start(self, tag: str, _attributes: Any) -> None:
        """An element begins."""
        if not self._open and tag != "methodCall":
            raise InvalidInput(f"the body is not a methodCall but {shown(tag)}")
        if len(self._open) >= DEEPEST:
            raise TooLarge(f"values are nested deeper than {DEEPEST} elements")
        if tag not in _STRUCTURE and tag not in _TYPES:
            raise InvalidInput(f"XML-RPC has no element {shown(tag)}")
        self._open.append(tag)
        self._text = []
        if tag == "value":
            self._typed = False
        elif tag in {"array", "struct"}:
            self._marks.append(len(self.values))

    def data(self, text: str) -> None:
        """Text."""
        self._text.append(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._open.pop()
        read = _TYPES.get(tag)
        if read is not None:
            self._push(read("".join(self._text)))
        elif tag == "value":
            if not self._typed:
                self._push("".join(self._text))
            self._typed = True
        elif tag == "name":
            self.values.append("".join(self._text))
        elif tag == "array":
            mark = self._marks.pop()
            self.values[mark:] = [self.values[mark:]]
            self._typed = True
        elif tag == "struct":
            self._end_struct()
        elif tag == "methodName":
            self._end_method()
        self._text = []

    def _push(self, value: Any) -> None:
        self._count += 1
        if self._count > MOST_VALUES:
            raise TooLarge(f"the call has more than {MOST_VALUES} values")
        self.values.append(value)
        self._typed = True

    def _end_struct(self) -> None:
        mark = self._marks.pop()
        items = self.values[mark:]
        names, values = items[::2], items[1::2]
        if len(names) != len(values) or not all(isinstance(each, str) for each in names):
            raise InvalidInput("a struct has members without name or value")
        if len(set(names)) != len(names):
            raise InvalidInput("a struct has two members of one name")
        self.values[mark:] = [dict(zip(names, values, strict=True))]
        self._typed = True

    def _end_method(self) -> None:
        name = "".join(self._text).strip()
        if not _METHOD.fullmatch(name):
            raise InvalidInput(f"{shown(name)} is not a method name")
        self.method = name


def _integer(text: str) -> int:
    text = text.strip()
    if not _INTEGER.fullmatch(text):
        raise InvalidInput(f"{shown(text)} is not an integer")
    number = int(text)
    if abs(number) > LARGEST:
        raise InvalidInput(f"{text} is not an integer of at most 63 bits")
    return number


def _boolean(text: str) -> bool:
    text = text.strip()
    if text not in {"0", "1"}:
        raise InvalidInput(f"{shown(text)} is not a boolean: 0 or 1")
    return text == "1"


def _double(text: str) -> float:
    text = text.strip()
    if not _DOUBLE.fullmatch(text):
        raise InvalidInput(f"{shown(text)} is not a double")
    return float(text)


def _moment(text: str) -> str:
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{shown(text)} is not a dateTime.iso8601")
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}Z"


def _base64(text: str) -> bytes:
    try:
        return b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError):
        raise InvalidInput("a base64 value is malformed") from None


_TYPES: dict[str, Callable[[str], Any]] = {
    "int": _integer,
    "i4": _integer,
    "i8": _integer,
    "boolean": _boolean,
    "double": _double,
    "string": str,
    "dateTime.iso8601": _moment,
    "base64": _base64,
    "nil": lambda _text: None,
}
