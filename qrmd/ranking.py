"""Hosts in order for one requirement, kept in order while they change: 500 hosts need not be compared at each start."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from qrmd.placement import Candidate, Requirement, distance


class Ranking:
    """A heap of distances. An entry that is out of date is dropped when it comes up.

    Args:
        candidates: each is told to ``update`` when it has changed.
    """

    def __init__(self, requirement: Requirement, candidates: Iterable[Candidate]) -> None:
        self._requirement = requirement
        self._candidates = {each.host_id: each for each in candidates}
        self._distances = {host: distance(requirement, each) for host, each in self._candidates.items()}
        self._heap: list[tuple[float, int]] = []
        self._sort()

    def __len__(self) -> int:
        return len(self._candidates)

    def update(self, host_id: int) -> None:
        """Something about this host has changed; one that is no candidate here is fine."""
        candidate = self._candidates.get(host_id)
        if candidate is None:
            return
        found = distance(self._requirement, candidate)
        if found != self._distances[host_id]:
            self._distances[host_id] = found
            heappush(self._heap, (found, host_id))
            if len(self._heap) > 4 * len(self._candidates):
                self._sort()

    def best(self, limit: int) -> list[Candidate]:
        """The best so many, the best first; those that don't fit come last, ties go by id."""
        found: list[tuple[float, int]] = []
        while self._heap and len(found) < limit:
            entry = heappop(self._heap)
            if entry[0] == self._distances[entry[1]] and entry not in found[-1:]:
                found.append(entry)
        for entry in found:
            heappush(self._heap, entry)
        return [self._candidates[host] for _, host in found]

    def _sort(self) -> None:
        self._heap = [(far, host) for host, far in self._distances.items()]
        heapify(self._heap)
