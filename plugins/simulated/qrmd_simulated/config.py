"""Settings of the simulated plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """As in ``simulated.toml``.

    Attributes:
        faults: JSON file with faults to be played; empty: none.
        blocking: calls are made in threads.
        directory: where machines and disks are kept; empty: in the state directory. One on a tmpfs will do, since
            they need not survive a power cut.
        measures_load: hosts tell how busy they are.
    """

    faults: str = ""
    blocking: bool = False
    directory: str = ""
    measures_load: bool = True
