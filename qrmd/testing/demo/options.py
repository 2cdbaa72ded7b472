"""What a demo is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORTS = (7443, 7444, 7480)


@dataclass(frozen=True, slots=True)
class Options:
    """How a demo runs.

    Attributes:
        directory: holds configuration, state, volumes and log of its daemon; made anew.
        lab: name of the lab.
        ports: of administration, portal and boot on 127.0.0.1; 0: any.
        once: end after the job.
        job: whether anything is done at all.
        tethered: end when the parent process ends.
    """

    directory: Path
    lab: str
    ports: tuple[int, int, int]
    once: bool
    job: bool
    tethered: bool
