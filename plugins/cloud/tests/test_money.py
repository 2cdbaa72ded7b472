"""Amounts and proration."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmd.api import SECOND, InvalidInput
from qrmd_cloud import money

PRICES = st.integers(0, 10**12)
TIMES = st.integers(0, 10**16)


@given(st.integers(-money.MOST, money.MOST))
def test_what_is_shown_is_read_back(micro: int) -> None:
    shown = money.show(micro)
    assert money.parse(shown.removeprefix("-")) == abs(micro)
    assert shown.startswith("-") == (micro < 0)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "0x1", "1,5", " 1", "1 ", "1.", ".5", "NaN", "\u0661", "1" * 14, "0.0000001"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        money.parse(text)


def test_more_than_can_be_counted_is_refused() -> None:
    with pytest.raises(InvalidInput):
        money.parse("1000000000000.000001")


@given(PRICES, TIMES, st.lists(st.integers(0, 10**13), min_size=1, max_size=20))
def test_any_split_of_an_interval_sums_to_the_same(price: int, begin: int, lengths: list[int]) -> None:
    cuts = [begin]
    for length in lengths:
        cuts.append(cuts[-1] + length)
    parts = [money.prorate(price, begin, a, b) for a, b in pairwise(cuts)]
    assert sum(parts) == money.prorate(price, begin, begin, cuts[-1])
    assert all(part >= 0 for part in parts)


@given(PRICES, TIMES, st.integers(0, 10**6))
def test_an_amount_is_the_price_of_its_seconds_rounded_down(price: int, begin: int, seconds: int) -> None:
    assert money.prorate(price, begin, begin, begin + seconds * SECOND) == price * seconds // 3600


def test_720_hours_cost_720_hours() -> None:
    assert money.prorate(333_333, 7, 7, 7 + 720 * 3600 * SECOND) == 720 * 333_333


@given(PRICES, st.integers(0, 10**9))
def test_a_hold_is_never_less_than_the_bill(price: int, seconds: int) -> None:
    assert money.cost(price, seconds) >= money.prorate(price, 0, 0, seconds * SECOND)


@given(st.integers(1, 10**12), st.integers(0, 10**15))
def test_what_funds_last_for_they_pay(price: int, funds: int) -> None:
    seconds = money.lasting(price, funds)
    assert money.prorate(price, 0, 0, seconds * SECOND) <= funds
    assert price * (seconds + 1) > funds * 3600
