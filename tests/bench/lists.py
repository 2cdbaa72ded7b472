"""``appliance.list`` in pages of 1,000 with four fields."""

from __future__ import annotations

import time
import xmlrpc.client
from collections.abc import Iterator
from statistics import median
from typing import Any

from tests.bench.calls import target_of
from tests.bench.client import Target, call
from tests.bench.figure import Figure
from tests.bench.inside import workplace
from tests.bench.servers import serving

FIELDS = ["id", "name", "state", "host_id"]
PAGE = 1000
PAGE_MS, ALL_MS = 60.0, 600.0
TIMES = 5


def measure(*, quick: bool) -> Iterator[Figure]:
    """Each number of rows has a daemon of its own; appliances are stopped, which makes no difference to a list."""
    for rows in (100, 1000) if quick else (100, 1000, 10_000):
        active, stopped = min(rows, 1000), max(0, rows - 1000)
        with workplace() as place, serving(place, "daemon_server", active=active, stopped=stopped) as (told, _):
            tries = [_fetch(target_of(told, "tls"), rows) for _ in range(TIMES)]
        slowest, everything = median(each[0] for each in tries), median(each[1] for each in tries)
        yield Figure("lists", f"{rows:,} rows: slowest page", slowest * 1000, "ms", aim=PAGE_MS,
                     note="pages of 1,000 with four fields")  # fmt: skip
        yield Figure("lists", f"{rows:,} rows: all, parsed", everything * 1000, "ms", aim=ALL_MS,
                     note="with xmlrpc.client's parsing")  # fmt: skip


def _fetch(target: Target, rows: int) -> tuple[float, float]:
    """Seconds of the slowest page and of all with parsing."""
    slowest, after, found = 0.0, 0, 0
    with target.connect() as connection:
        call(connection, target.request("qrm.version", []))
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            options: dict[str, Any] = {"fields": FIELDS, "limit": PAGE, "after": after}
            answer = call(connection, target.request("appliance.list", [options]))
            slowest = max(slowest, time.monotonic() - asked)
            page: Any = xmlrpc.client.loads(answer.decode())[0][0]
            found += len(page)
            if len(page) < PAGE or found == rows:
                break
            after = page[-1]["id"]
        everything = time.monotonic() - began
    assert found == rows, (found, rows)
    return slowest, everything
