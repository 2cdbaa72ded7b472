"""Metrics in Prometheus' text format. No secrets, no names of users or servers."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import qrmd
from qrmd.store.counts import COUNTED
from qrmd.store.database import Store
from qrmd.web.request import Site
from qrmd.web.xmlrpc import XmlRpc

_BEGAN = time.time()


Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples. ``kind`` is ``counter`` or ``gauge``."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Labels, float], ...]


def collect(store: Store, counts: Mapping[tuple[str, str], int], rpc: XmlRpc, site: Site) -> list[Metric]:
    """All metrics now."""
    counters = store.counters
    build = (("version", qrmd.__version__), ("python", platform.python_version()))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [
        Metric("qrmd_build_info", "gauge", "Version of the daemon.", ((build, 1),)),
        _one("qrmd_start_time_seconds", "gauge", "When the daemon began, seconds since the epoch.", _BEGAN),
        _one("qrmd_cpu_seconds_total", "counter", "Processor time used.", usage.ru_utime + usage.ru_stime),
        _one("qrmd_memory_peak_bytes", "gauge", "Largest resident memory so far.", usage.ru_maxrss * 1024),
        _one("qrmd_store_commits_total", "counter", "Commits of the database.", counters.commits),
        _one("qrmd_store_writes_total", "counter", "Write functions; many share a commit.", counters.members),
        _one("qrmd_store_slow_writes_total", "counter", "Write functions over 50 ms.", counters.slow),
        _one("qrmd_store_write_seconds_total", "counter", "Time spent in write transactions.", counters.seconds),
        _one("qrmd_store_disk_full", "gauge", "1 while the disk of the database is full.", int(store.disk_full)),
        _one("qrmd_http_requests_total", "counter", "HTTP requests of the admin port.", site.requests),
        _one("qrmd_http_refused_total", "counter", "Bodies cut off because they were too large.", site.refused),
        _one("qrmd_http_connections", "gauge", "Open connections of the admin port.", len(site.channels)),
        _one("qrmd_rpc_calls_total", "counter", "XML-RPC calls.", rpc.calls),
        _one("qrmd_rpc_faults_total", "counter", "XML-RPC calls answered by a fault.", rpc.faults),
        _one("qrmd_debts", "gauge", "Steps that are still owed.", counts["debt", ""]),
        _one("qrmd_events_total", "counter", "Events written.", counts["event", ""]),
        *(_by_state(kind, counts) for kind in COUNTED),
    ]


def render(metrics: Iterable[Metric]) -> str:
    """The text that Prometheus reads."""
    lines: list[str] = []
    for each in metrics:
        lines += [f"# HELP {each.name} {each.help}", f"# TYPE {each.name} {each.kind}"]
        for labels, value in each.samples:
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{each.name}{{{shown}}} {value:.15g}" if shown else f"{each.name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _one(name: str, kind: str, help_: str, value: float) -> Metric:
    return Metric(name, kind, help_, (((), value),))


def _by_state(kind: str, counts: Mapping[tuple[str, str], int]) -> Metric:
    samples = tuple(((("state", state),), number) for (each, state), number in counts.items() if each == kind)
    return Metric(f"qrmd_{kind}s", "gauge", f"{kind.capitalize()}s by state.", samples)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
