"""What was measured, beside what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        group: which measurement it belongs to.
        name: what was measured.
        value: our figure, in ``unit``.
        unit: ``/s``, ``ms``, ``s``, ``MB``, ``commits``.
        peer: the floor or peer of the same run in the same unit, None: there is none.
        aim: what we want: the least for rates and ratios of rates, the most for everything else.
        aim_is_ratio: the aim is about value / peer.
        note: one line for people.
    """

    group: str
    name: str
    value: float
    unit: str
    peer: float | None = None
    aim: float | None = None
    aim_is_ratio: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Our figure per the peer's."""
        return None if not self.peer else self.value / self.peer

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached, None: there is none."""
        judged = self.ratio if self.aim_is_ratio else self.value
        if self.aim is None or judged is None:
            return None
        return judged >= self.aim if self.unit == "/s" else judged <= self.aim

    @property
    def verdict(self) -> str:
        """``met``, ``not met``, or empty: there is no aim."""
        return {True: "met", False: "not met", None: ""}[self.reached]

    def as_dict(self) -> dict[str, Any]:
        """JSON shape in ``bench.json``."""
        return {**asdict(self), "ratio": self.ratio, "reached": self.reached}


def middle(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Ours and the peer's figure of the round whose ratio is in the middle: others share the machine."""
    return sorted(rounds, key=lambda each: each[0] / each[1])[len(rounds) // 2]
