"""Settings of the simulated plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """As in ``simulated.toml``.

    Attributes:
        faults: JSON file with faults to be played; empty: none.
        blocking: calls are made in threads.
    """

    faults: str = ""
    blocking: bool = False
