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

AT_ONCE = (1, 8, 64)
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
        stints: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = []
        for at_once, count in options["rounds"]:
            floor = await measure_floor(writer, max(count, 500), at_once)
            stints.append((f"{at_once} at a time", asdict(await start_many(measured, count, at_once)), asdict(floor)))
        if options["batch"]:
            count = options["batch"]
            floor = await measure_floor(writer, count, count)
            stints.append((f"one batch of {count:,}", asdict(await start_many(measured, count, count)), asdict(floor)))
        flat = [asdict(each) for each in await _measure_flatness(measured, options["existing"], options["last"])]
        memory = psutil.Process().memory_info().rss / 2**20
        writer.stop()
        await measured.stop()
    return {"stints": stints, "flat": flat, "memory_mb": memory}


async def _measure_flatness(measured: Inside, existing: int, count: int) -> list[Stint]:
    if not existing:
        return []
    missing = existing - await measured.count_active()
    if missing > 0:
        await start_many(measured, missing, 64)
    return [await start_many(measured, count, 64)]


def measure(*, quick: bool) -> Iterator[Figure]:
    """The figures."""
    rounds = [(1, 50), (8, 200), (64, 500)] if quick else [(1, 200), (8, 1000), (64, 1000)]
    options = {"plugins": ["cloud", "dir-storage"], "nics": 1, "rounds": rounds}
    options |= {"batch": 500, "existing": 0, "last": 0} if quick else {"batch": 5000, "existing": 10_000, "last": 1000}
    said = ask("appliances", options)
    best = 0.0
    for name, ours, floor in said["stints"]:
        stint, bare = Stint(**ours), Stint(**floor)
        best = stint.rate if name.startswith("64 ") else best
        yield from _figures(name, stint, bare)
    for each in said["flat"]:
        stint = Stint(**each)
        yield Figure(
            "appliances", "64 at a time with 10,000 there", stint.rate, "/s", best, FLAT, True,
            "peer: the same with few there",
        )  # fmt: skip
        yield Figure("appliances", "memory with 11,000 there", said["memory_mb"], "MB", aim=MEMORY_MB,
                     note="the measuring process: daemon, floor and all")  # fmt: skip
    without = ask("appliances", options | {"plugins": ["cloud", "dnsmasq"], "nics": 0, "rounds": rounds[-1:],
                                           "batch": 0, "existing": 0})  # fmt: skip
    for _, ours, floor in without["stints"]:
        stint = Stint(**ours)
        yield Figure("appliances", "64 at a time, no NIC, dnsmasq plans too", stint.rate, "/s", Stint(**floor).rate)


def _figures(name: str, stint: Stint, floor: Stint) -> Iterator[Figure]:
    aim = AIM if name.startswith("64 ") else None
    yield Figure("appliances", name, stint.rate, "/s", floor.rate, aim, note="peer: bare journal writes")
    yield Figure("appliances", f"{name}: processor", stint.cpu_ms, "ms", floor.cpu_ms)
    aim = COMMITS_AIM if name.startswith("64 ") else None
    yield Figure("appliances", f"{name}: commits", stint.commits_each, "commits", floor.commits_each, aim)
