"""``simulated://name?cpus=64&memory_mb=262144``: a host is its name and its size. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from qrmd.api import InvalidInput, names


@dataclass(frozen=True, slots=True)
class HostSize:
    """A simulated host; memory in MiB."""

    name: str
    cpus: int = 64
    memory_mb: int = 262_144


@lru_cache(maxsize=100_000)
def parse(uri: str) -> HostSize:
    """Read a URI.

    Raises:
        InvalidInput: it is none of ours, or a number is not positive.
    """
    try:
        parts = urlsplit(uri)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        numbers = {key: int(value) for key, value in options.items()}
    except ValueError as error:
        raise _refuse(uri) from error
    unknown = numbers.keys() - {"cpus", "memory_mb"}
    if parts.scheme != "simulated" or parts.path not in {"", "/"} or unknown or min(numbers.values(), default=1) < 1:
        raise _refuse(uri)
    return HostSize(names.check_name(parts.netloc, "host name"), **numbers)


def _refuse(uri: str) -> InvalidInput:
    return InvalidInput(f"{names.shown(uri)} is no simulated host", hint="simulated://name?cpus=64&memory_mb=262144")
