"""``simulated://name?cpus=64&memory_mb=262144``: a host, as a storage, is its name and its size. Pure.

``cpu_percent=80``: its processors are that busy.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from qrmd.api import InvalidInput, names


@dataclass(frozen=True, slots=True)
class HostSize:
    """A simulated host; memory in MiB, ``cpu_percent``: how busy its processors are."""

    name: str
    cpus: int = 64
    memory_mb: int = 262_144
    cpu_percent: int = 0


@dataclass(frozen=True, slots=True)
class PoolSize:
    """A simulated storage; MiB."""

    name: str
    capacity_mb: int = 2**30


_SIZES = range(1, 2**63)
_HOST = {"cpus": _SIZES, "memory_mb": _SIZES, "cpu_percent": range(101)}
_POOL = {"capacity_mb": _SIZES}


@lru_cache(maxsize=100_000)
def parse(uri: str) -> HostSize:
    """Read the URI of a host.

    Raises:
        InvalidInput: it is none of ours, or a size is not positive, or a percentage none.
    """
    name, numbers = _read(uri, _HOST, "simulated://name?cpus=64&memory_mb=262144")
    return HostSize(names.check_name(name, "host name"), **numbers)


@lru_cache(maxsize=1000)
def parse_pool(location: str) -> PoolSize:
    """Read the location of a storage. Raises as ``parse``."""
    name, numbers = _read(location, _POOL, "simulated://name?capacity_mb=1000000")
    return PoolSize(names.check_name(name, "storage name"), **numbers)


def _read(uri: str, known: Mapping[str, Container[int]], example: str) -> tuple[str, dict[str, int]]:
    refusal = InvalidInput(f"{names.shown(uri)} is nothing simulated", hint=example)
    try:
        parts = urlsplit(uri)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        numbers = {key: int(value) for key, value in options.items()}
    except ValueError as error:
        raise refusal from error
    wrong = [key for key, value in numbers.items() if key not in known or value not in known[key]]
    if parts.scheme != "simulated" or parts.path not in {"", "/"} or wrong:
        raise refusal
    return parts.netloc, numbers
