"""Values on their way through XML-RPC."""

from __future__ import annotations

import math
import xmlrpc.client
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmd.errors import InvalidInput, TooLarge
from qrmd.web.marshal import _HEADS, LONGEST_HEAD, MOST_HEADS, dump_fault, dump_result
from qrmd.web.unmarshal import parse_call

_XML_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))
_VALUES = st.recursive(
    st.integers(-(2**31) + 1, 2**31 - 1) | st.booleans() | _XML_TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_XML_TEXT, inner, max_size=4),
    max_leaves=20,
)


def _received(value: Any) -> Any:
    return xmlrpc.client.loads(dump_result(value))[0][0]


@given(_VALUES)
def test_results_are_read_by_an_ordinary_client(value: Any) -> None:
    assert _received(value) == value


@given(st.lists(st.integers() | st.none() | st.floats(allow_nan=False) | st.binary(max_size=9), max_size=9))
def test_lists_of_anything_are_read_in_order(values: list[Any]) -> None:
    received: Any = xmlrpc.client.loads(dump_result(values), use_builtin_types=True)[0][0]
    assert [str(each) for each in received] == [str(each) for each in values]


@given(st.dictionaries(st.text(), st.text() | st.none(), max_size=6))
def test_any_names_make_a_struct_of_what_is_there(value: dict[str, str | None]) -> None:
    assert len(_received(value)) <= sum(1 for each in value.values() if each is not None)


def test_names_that_are_equal_but_not_the_same_keep_their_text() -> None:
    assert [_received({each: "a"}) for each in ("1", 1, "True", True)] == [{"1": "a"}, {"1": "a"}] + [{"True": "a"}] * 2


def test_only_so_many_short_names_are_remembered() -> None:
    dump_result({f"name-{number}": 0 for number in range(MOST_HEADS + 100)})
    assert _received({"name-2100": 1, "x" * 100: 2}) == {"name-2100": 1, "x" * 100: 2}
    assert len(_HEADS) <= MOST_HEADS
    assert max(map(len, _HEADS)) <= LONGEST_HEAD


@given(st.lists(_VALUES, max_size=4))
def test_calls_of_an_ordinary_client_are_read(values: list[Any]) -> None:
    assert parse_call(xmlrpc.client.dumps(tuple(values), "a.b").encode()) == ("a.b", values)


@given(st.text())
def test_any_text_makes_a_document_that_can_be_read(value: str) -> None:
    assert isinstance(_received(value), str)
    with pytest.raises(xmlrpc.client.Fault):
        xmlrpc.client.loads(dump_fault(400, value))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(body: bytes) -> None:
    with pytest.raises((InvalidInput, TooLarge)):
        parse_call(body)


class _Kind(StrEnum):
    ONE = "one"


@dataclass(frozen=True)
class _Row:
    id: int
    kind: _Kind
    gone: str | None = None


@pytest.mark.parametrize(
    ("value", "received"),
    [
        (None, True),
        (2**31, str(2**31)),
        (-(2**31), str(-(2**31))),
        ({"a": None, "b": 0}, {"b": 0}),
        (_Row(1, _Kind.ONE), {"id": 1, "kind": "one"}),
        ((1, 2), [1, 2]),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (math.inf, "inf"),
        ("bell\x07", "bell\ufffd"),
        ("a\r\nb", "a\r\nb"),
        ("]]>", "]]>"),
    ],
)
def test_results_that_xml_rpc_has_no_type_for(value: Any, received: Any) -> None:
    assert _received(value) == received


def test_what_can_t_be_sent_is_an_error_of_ours() -> None:
    with pytest.raises(TypeError):
        dump_result(object())


def test_times_arrive_as_iso_text() -> None:
    body = xmlrpc.client.dumps((xmlrpc.client.DateTime(datetime(2026, 1, 2, 3, 4, 5)),), "a.b")  # noqa: DTZ001
    assert parse_call(body.encode()) == ("a.b", ["2026-01-02T03:04:05Z"])
