"""A name is never taken for an id, wherever objects are named by id or by name."""

from __future__ import annotations

from typing import Any

import pytest

from qrmd.cli import values
from qrmd.errors import InvalidInput
from qrmd.names import check_name
from qrmd.operations.inputs import Name
from qrmd.operations.schema import Ref, convert
from qrmd_cloud.products import NewProduct, ProductChange
from qrmd_cloud.users import NewUser

DIGITS = ("1", "007", "12345678901234567890")
USER = {"name": "bob", "email": "bob@example.org"}
PRODUCT = {"kind": "cpu", "price": "1"}


@pytest.mark.parametrize("name", DIGITS)
def test_a_name_of_digits_is_refused_and_the_fault_says_why(name: str) -> None:
    for hint, given in (
        (Name, name),
        (NewUser, USER | {"name": name}),
        (NewProduct, PRODUCT | {"name": name}),
        (NewProduct, PRODUCT | {"kind": "image", "value": name}),
        (ProductChange, {"name": name}),
    ):
        with pytest.raises(InvalidInput, match="taken for an id") as caught:
            convert(hint, given, "given")
        assert caught.value.hint == "add a letter to it"


@pytest.mark.parametrize("name", ["a1", "1a", "10-0", "1.5", "2e3", "0x10"])
def test_digits_with_something_else_are_a_name(name: str) -> None:
    assert check_name(name) == convert(Ref, name, "appliance") == values.convert("ref", name, {}) == name


@pytest.mark.parametrize("given", [7, "7", "007"])
def test_digits_are_an_id_as_number_and_as_text(given: Any) -> None:
    assert convert(Ref, given, "appliance") == 7
    if isinstance(given, str):
        assert values.convert("ref", given, {}) == 7


def test_no_id_is_larger_than_a_row_can_hold() -> None:
    with pytest.raises(InvalidInput, match="63 bits"):
        convert(Ref, "9" * 19, "appliance")
    with pytest.raises(InvalidInput, match="an integer"):
        convert(Ref, "9" * 30, "appliance")
