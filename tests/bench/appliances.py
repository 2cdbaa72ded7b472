"""Appliances from stopped to active, beside the floor, and whether that stays so with thousands there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import psutil

from tests.bench.child import ask
from tests.bench.figure import Figure
from tests.bench.floor import Writer
from tests.bench.floor import measure as measure_floor
from tests.bench.inside import Inside, workplace
from tests.bench.stint import Stint, run_at_once

AT_ONCE = {1: 100, 8: 500, 64: 1000}
"""At a time: how many in a round."""
ROUNDS = 3
AIM = 1000.0
COMMITS_AIM = 0.5
FLAT = 0.8
MEMORY_MB = 250.0


async def start_many(inside: Inside, count: int, at_once: int) -> Stint:
    """So many fresh appliances; the clock stops when observers have seen the last event."""
    made = await inside.add(count)
    await inside.core.outbox.caught_up()
    before = await inside.count_active()
    counters = inside.core.store.counters
    commits, cpu, began = counters.commits, time.process_time(), time.monotonic()
    await run_at_once(lambda number: inside.make_active(made[number]), range(count), at_once)
    await inside.core.outbox.caught_up()
    stint = Stint(count, time.monotonic() - began, time.process_time() - cpu, counters.commits - commits)
    assert await inside.count_active() == before + count, "not all became active"
    return stint


async def inside(reactor: Any, options: dict[str, Any]) -> Any:
    """Floor and appliances alternate, so that a busy machine is unjust to neither."""
    with workplace() as place:
        writer = Writer(place / "floor.sqlite", reactor.callFromThread)
        measured = Inside(place, options["plugins"], options["nics"])
        await measured.start()
        await start_many(measured, 64, 8)  # warm
        pairs = [
            (name, at_once, asdict(await start_many(measured, count, at_once)),
             asdict(await measure_floor(writer, count, at_once)))
            for name, at_once, count in options["rounds"]
        ]  # fmt: skip
        flat = await _measure_flatness(measured, options["existing"], options["last"])
        memory = psutil.Process().memory_info().rss / 2**20
        writer.stop()
        await measured.stop()
    return {"pairs": pairs, "flat": flat, "memory_mb": memory}


async def _measure_flatness(measured: Inside, existing: int, count: int) -> list[dict[str, Any]]:
    """So many more, some times, when there are already that many."""
    if not existing:
        return []
    await start_many(measured, existing - await measured.count_active(), 64)
    return [asdict(await start_many(measured, count, 64)) for _ in range(ROUNDS)]


def measure(*, quick: bool) -> Iterator[Figure]:
    """The figures. Of some rounds the one with the middle rate is shown: others share the machine."""
    batch, share = (500, 0.25) if quick else (5000, 1.0)
    rounds = [(f"{at_once} at a time", at_once, int(count * share)) for at_once, count in AT_ONCE.items()] * ROUNDS
    rounds.append((f"one batch of {batch:,}", batch, batch))
    options = {"plugins": ["cloud", "dir-storage"], "nics": 1, "rounds": rounds}
    options |= {"existing": 0, "last": 0} if quick else {"existing": 10_000, "last": 500}
    said = ask("appliances", options)
    found = _grouped(said["pairs"])
    for name, (stint, floor) in found.items():
        yield from _figures(name, stint, floor)
    if said["flat"]:
        yield from _flatness(found["64 at a time"][0], _middle([Stint(**each) for each in said["flat"]]))
        yield Figure("appliances", "memory with 11,500 there", said["memory_mb"], "MB", aim=MEMORY_MB,
                     note="the measuring process: daemon, floor and all")  # fmt: skip
    most = [each for each in rounds if each[1] == 64]
    options |= {"plugins": ["cloud", "dnsmasq"], "nics": 0, "rounds": most, "existing": 0}
    for stint, floor in _grouped(ask("appliances", options)["pairs"]).values():
        yield Figure("appliances", "64 at a time, no NIC, dnsmasq plans too", stint.rate, "/s", floor.rate)


def _grouped(pairs: list[Any]) -> dict[str, tuple[Stint, Stint]]:
    """The middle one of our stints and of the floor's by name."""
    found: dict[str, tuple[list[Stint], list[Stint]]] = {}
    for name, _, ours, floor in pairs:
        mine, bare = found.setdefault(name, ([], []))
        mine.append(Stint(**ours))
        bare.append(Stint(**floor))
    return {name: (_middle(mine), _middle(bare)) for name, (mine, bare) in found.items()}


def _middle(stints: list[Stint]) -> Stint:
    return sorted(stints, key=lambda each: each.rate)[len(stints) // 2]


def _figures(name: str, stint: Stint, floor: Stint) -> Iterator[Figure]:
    aim, commits_aim = (AIM, COMMITS_AIM) if name.startswith("64 ") else (None, None)
    yield Figure("appliances", name, stint.rate, "/s", floor.rate, aim, note="floor: bare journal writes")
    yield Figure("appliances", f"{name}: processor", stint.cpu_ms, "ms", floor.cpu_ms)
    yield Figure("appliances", f"{name}: commits", stint.commits_each, "commits", floor.commits_each, commits_aim)


def _flatness(few: Stint, many: Stint) -> Iterator[Figure]:
    name, note = "64 at a time with 10,000 there", "peer: the same with few there"
    yield Figure("appliances", name, many.rate, "/s", few.rate, FLAT, True, note)
    yield Figure("appliances", f"{name}: processor", many.cpu_ms, "ms", few.cpu_ms, 1 / FLAT, True, note)
