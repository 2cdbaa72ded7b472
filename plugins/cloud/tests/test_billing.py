"""From marks to lines: any order of looks gives the same bill."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qrmd.api import SECOND
from qrmd_cloud import billing
from qrmd_cloud.billing import Due, Interval
from qrmd_cloud.model import Line, LineKind, Mark, MarkKind

ON, OFF, VOID, END = MarkKind.ON, MarkKind.OFF, MarkKind.VOID, MarkKind.END


def marks(*given: tuple[int, MarkKind]) -> list[Mark]:
    return [Mark(number, 1, at, kind) for number, (at, kind) in enumerate(given, 1)]


def test_from_active_to_the_accepted_stop() -> None:
    assert billing.intervals(marks((10, ON), (50, OFF), (55, OFF))) == (Interval(10, 50),)


def test_a_fault_of_ours_is_not_paid() -> None:
    assert billing.intervals(marks((10, ON), (20, OFF), (70, ON))) == (Interval(10, 20), Interval(70, None))


def test_marks_may_come_late() -> None:
    assert billing.intervals(marks((50, OFF), (10, ON))) == (Interval(10, 50),)


def test_what_was_undone_never_ran() -> None:
    assert billing.intervals(marks((10, ON), (20, VOID))) == ()
    assert billing.intervals(marks((10, ON), (20, VOID), (30, ON))) == (Interval(30, None),)


def test_after_the_end_nothing_runs() -> None:
    assert billing.intervals(marks((10, ON), (20, OFF), (30, END), (40, ON))) == (Interval(10, 20),)


def book(lines: list[Line], found: list[Due], price: int) -> None:
    for due in found:
        signed = due.amount_micro - due.waived_micro
        lines.append(
            Line(
                len(lines) + 1,
                1,
                0,
                due.kind,
                -signed if due.kind is LineKind.CHARGE else signed,
                0,
                1,
                1,
                due.begin_at,
                due.from_at,
                due.to_at,
                price,
                due.waived_micro,
            )
        )


STORY = st.lists(st.tuples(st.integers(0, 400 * SECOND), st.sampled_from([ON, OFF])), max_size=12)


@given(
    STORY,
    st.randoms(use_true_random=False),
    st.integers(0, 10**10),
    st.lists(st.integers(0, 500 * SECOND), max_size=8),
)
def test_late_marks_and_any_looks_give_the_bill_of_the_whole_story(
    story: list[tuple[int, MarkKind]], random: object, price: int, looks: list[int]
) -> None:
    """Looks happen at any time while marks trickle in out of order; in the end only the intervals count."""
    known: list[Mark] = []
    lines: list[Line] = []
    pending = marks(*story)
    random.shuffle(pending)  # type: ignore[attr-defined]
    for look in [*sorted(looks), 500 * SECOND]:
        if pending:
            known.append(pending.pop())
        if look == 500 * SECOND:
            known += pending
        book(lines, billing.due(price, billing.intervals(known), billing.settled(lines), look), price)
    paid = billing.intervals(known)
    assert -sum(line.amount_micro for line in lines) == billing.recompute(price, paid, 500 * SECOND)
    assert all(line.amount_micro == billing.expected(line) for line in lines)
    assert billing.due(price, paid, billing.settled(lines), 500 * SECOND) == []


@given(STORY, st.integers(1, 10**10), st.lists(st.integers(0, 500 * SECOND), max_size=8))
def test_a_from_time_is_charged_once(story: list[tuple[int, MarkKind]], price: int, looks: list[int]) -> None:
    lines: list[Line] = []
    paid = billing.intervals(marks(*story))
    for look in [*sorted(looks), 500 * SECOND]:
        book(lines, billing.due(price, paid, billing.settled(lines), look), price)
    charged = [line.from_at for line in lines if line.kind is LineKind.CHARGE]
    assert len(charged) == len(set(charged))
    assert all(line.kind is LineKind.CHARGE for line in lines)


def test_a_look_with_a_clock_that_stepped_back_changes_nothing() -> None:
    lines: list[Line] = []
    paid = (Interval(0, None),)
    book(lines, billing.due(3_600_000, paid, {}, 100 * SECOND), 3_600_000)
    assert billing.due(3_600_000, paid, billing.settled(lines), 60 * SECOND) == []


def test_a_refund_gives_back_no_more_than_was_taken() -> None:
    line = Line(1, 1, 0, LineKind.CHARGE, -30_000, 0, 1, 1, 0, 0, 100 * SECOND, 3_600_000, 70_000)
    (due,) = billing.due(3_600_000, (Interval(0, 50 * SECOND),), billing.settled([line]), 200 * SECOND)
    assert (due.kind, due.amount_micro, due.waived_micro) == (LineKind.REFUND, 50_000, 50_000)
