"""Placement: requirements by candidates → a ranked, explained choice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

from qrmd.loads import Gauge

SHOWN_VERDICTS = 100
"""Of how many candidates people are told."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What an appliance needs of a host. ``virtualization_type`` ``any``: all types that can boot it."""

    virtualization_type: str
    cpus: int
    memory_mb: int
    storage_host_id: int | None = None
    avoid: frozenset[int] = frozenset()


@dataclass(slots=True)
class Candidate:
    """A host and what of it is promised already. Capacities are after over-commit and the host's own reserve.

    ``load`` is measured, so it is not compared with the rows.
    """

    host_id: int
    name: str
    virtualization_type: str
    state: str
    cpus: float
    memory_mb: float
    used_cpus: int = 0
    used_memory_mb: int = 0
    machines: int = 0
    load: Gauge = field(default_factory=Gauge, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a candidate fits or not. ``missing``: how much of what is short."""

    host: str
    fits: bool
    reason: str
    score: float = 0.0
    missing: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON shape for plans, faults and the explain verbs."""
        shown: dict[str, Any] = {"host": self.host, "fits": self.fits, "reason": self.reason}
        if self.fits:
            shown["score"] = round(self.score, 4)
        if self.missing:
            shown["missing"] = dict(self.missing)
        return shown


def choose(requirement: Requirement, candidates: Iterable[Candidate]) -> Candidate | None:
    """The best host, None when none fits. The best score wins (see ``_score``); ties go to the one named first."""
    best = rank(requirement, candidates, 1)
    return best[0] if best and _obstacle(requirement, best[0]) is None else None


def rank(requirement: Requirement, candidates: Iterable[Candidate], limit: int) -> list[Candidate]:
    """The best so many, the best first; those that don't fit come last."""
    return nsmallest(limit, candidates, lambda each: distance(requirement, each))


def explain(requirement: Requirement, candidates: Iterable[Candidate], limit: int = SHOWN_VERDICTS) -> list[Verdict]:
    """A verdict per candidate, the best first."""
    return judge(requirement, rank(requirement, candidates, limit))


def judge(requirement: Requirement, candidates: Iterable[Candidate]) -> list[Verdict]:
    """A verdict per candidate, in their order."""
    return [_verdict(requirement, each) for each in candidates]


def shortage(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """What is missing on the host that lacks least: the number to name in a refusal."""
    lacking = [verdict.missing for verdict in verdicts if verdict.missing]
    if not lacking:
        return {}
    least: Mapping[str, int] = min(lacking, key=lambda missing: (len(missing), sum(missing.values())))
    return dict(least)


def _verdict(requirement: Requirement, candidate: Candidate) -> Verdict:
    obstacle = _obstacle(requirement, candidate)
    if obstacle is not None:
        reason, missing = obstacle
        return Verdict(candidate.name, False, reason, missing=missing)
    score = _score(requirement, candidate)
    free = candidate.memory_mb - candidate.used_memory_mb - requirement.memory_mb
    return Verdict(candidate.name, True, f"fits; {free:.0f} MiB stay free; {candidate.load.now.reason}", score)


def distance(requirement: Requirement, candidate: Candidate) -> float:
    """Smaller is better; 1 when it does not fit."""
    return 1.0 if _obstacle(requirement, candidate) else -_score(requirement, candidate)


def _score(requirement: Requirement, candidate: Candidate) -> float:
    """The smaller of the shares of memory and processors that stay unpromised, from 0 to 1.

    Where the load is known, a quarter of the score is the smaller share of memory and processors that were idle.
    """
    memory = (candidate.used_memory_mb + requirement.memory_mb) / candidate.memory_mb
    cpus = (candidate.used_cpus + requirement.cpus) / candidate.cpus
    load = candidate.load.now
    return 1 - max(memory, cpus) * load.promises - load.busy


def _obstacle(requirement: Requirement, candidate: Candidate) -> tuple[str, dict[str, int]] | None:
    if candidate.state != "up":
        return f"is {candidate.state}", {}
    if requirement.virtualization_type not in ("any", candidate.virtualization_type):
        return f"runs {candidate.virtualization_type}, not {requirement.virtualization_type}", {}
    if requirement.storage_host_id not in (None, candidate.host_id):
        return "does not reach the storage of the image", {}
    if candidate.host_id in requirement.avoid:
        return "is to be avoided", {}
    missing = {}
    memory = candidate.used_memory_mb + requirement.memory_mb - candidate.memory_mb
    if memory > 0:
        missing["memory_mb"] = _ceiling(memory)
    cpus = candidate.used_cpus + requirement.cpus - candidate.cpus
    if cpus > 0:
        missing["cpus"] = _ceiling(cpus)
    if missing:
        return "lacks " + ", ".join(f"{amount} {what}" for what, amount in missing.items()), missing
    return None


def _ceiling(value: float) -> int:
    whole = int(value)
    return whole if whole == value else whole + 1
