"""From marks on the meter to ledger lines, and back again for the proof. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qrmd_cloud.model import Line, LineKind, Mark, MarkKind
from qrmd_cloud.money import prorate


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which a server is to be paid for; ``end`` None: it runs."""

    begin: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Due:
    """A line that the ledger lacks. ``amount_micro`` is positive; a refund's is what goes back.

    ``waived_micro``: part of ``amount_micro`` that an earlier cut has given away already (refunds only).
    """

    kind: LineKind
    begin_at: int
    from_at: int
    to_at: int
    amount_micro: int
    waived_micro: int = 0


def intervals(marks: Iterable[Mark]) -> tuple[Interval, ...]:
    """The paid times that a server's marks mean. Marks may come late and doubled: time orders them, not arrival."""
    found: list[Interval] = []
    begin: int | None = None
    for mark in sorted(_counting(marks), key=lambda each: (each.at, each.id)):
        if mark.kind is MarkKind.ON:
            begin = mark.at if begin is None else begin
        elif begin is not None:
            found.append(Interval(begin, mark.at))
            begin = None
        if mark.kind is MarkKind.END:
            return tuple(each for each in found if each.begin != each.end)
    if begin is not None:
        found.append(Interval(begin, None))
    return tuple(each for each in found if each.begin != each.end)


def _counting(marks: Iterable[Mark]) -> list[Mark]:
    ordered = sorted(marks, key=lambda each: each.id)
    voids = [index for index, mark in enumerate(ordered) if mark.kind is MarkKind.VOID]
    return ordered[voids[-1] + 1 :] if voids else ordered


@dataclass(frozen=True, slots=True)
class Settled:
    """How far the lines of one interval go: up to ``to_at``; ``waived_micro`` of it was given away."""

    to_at: int
    waived_micro: int


def settled(lines: Iterable[Line]) -> dict[int, Settled]:
    """Per begin of an interval, how far the ledger has come. ``lines`` in order of their ids."""
    found: dict[int, Settled] = {}
    for line in lines:
        if line.kind is LineKind.CHARGE:
            before = found.get(line.begin_at, Settled(line.begin_at, 0))
            found[line.begin_at] = Settled(line.to_at, before.waived_micro + line.waived_micro)
        elif line.kind is LineKind.REFUND:
            before = found[line.begin_at]
            found[line.begin_at] = Settled(line.from_at, before.waived_micro - line.waived_micro)
    return found


def due(price_micro: int, paid: Sequence[Interval], far: dict[int, Settled], until: int) -> list[Due]:
    """What the ledger lacks up to ``until``: refunds first, then charges."""
    ends = {each.begin: until if each.end is None else min(each.end, until) for each in paid}
    refunds = [
        _refund(price_micro, begin, max(begin, ends.get(begin, begin)), each)
        for begin, each in far.items()
        if each.to_at > max(begin, ends.get(begin, begin)) and _is_past(paid, begin)
    ]
    charges = [
        _charge(price_micro, begin, far[begin].to_at if begin in far else begin, end) for begin, end in ends.items()
    ]
    return [each for each in (*refunds, *charges) if each is not None]


def _is_past(paid: Sequence[Interval], begin: int) -> bool:
    """A running interval is never refunded: a clock that stepped back only makes the next line wait."""
    return all(each.begin != begin or each.end is not None for each in paid)


def _charge(price_micro: int, begin: int, start: int, end: int) -> Due | None:
    amount = prorate(price_micro, begin, start, end) if end > start else 0
    return Due(LineKind.CHARGE, begin, start, end, amount) if amount else None


def _refund(price_micro: int, begin: int, end: int, far: Settled) -> Due | None:
    amount = prorate(price_micro, begin, end, far.to_at)
    return Due(LineKind.REFUND, begin, end, far.to_at, amount, min(amount, far.waived_micro)) if amount else None


def expected(line: Line) -> int:
    """The signed amount that a server's line must have."""
    amount = prorate(line.price_micro, line.begin_at, line.from_at, line.to_at) - line.waived_micro
    return -amount if line.kind is LineKind.CHARGE else amount


def recompute(price_micro: int, paid: Iterable[Interval], until: int) -> int:
    """What a server's time costs in all, from nothing but its intervals."""
    return sum(
        prorate(price_micro, each.begin, each.begin, until if each.end is None else min(each.end, until))
        for each in paid
        if each.begin < until
    )
