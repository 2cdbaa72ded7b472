"""What a client says when it orders, and what of it can be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from qrmd.api import SECOND, Check, InvalidInput, Length, Range, Ref, from_iso, names
from qrmd_cloud.model import Request
from qrmd_cloud.rules import Rules
from qrmd_cloud.states import RequestState

SIZE = Range(0, 2**31)


def _blank_or_hostname(value: str) -> str:
    return names.check_hostname(value) if value else value


def _blank_or_key(value: str) -> str:
    return names.check_ssh_key(value) if value else value


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """An order.

    Attributes:
        image: name of the image (required).
        disk_mb: 0: as large as the image.
        type: ``any`` or a virtualization type.
        start: ISO 8601 UTC; empty: now.
        stop: ISO 8601 UTC; empty: open-ended.
        hostname: with a quantity over 1 it gets ``-1``, ``-2``, …; empty: chosen for you.
        ssh_key: OpenSSH public key; without one a password is made and mailed.
        partial: be content with fewer servers than asked for.
        user: on behalf of this cloud user (administrators and operators; required for them).
    """

    image: Annotated[str, Length(63)] = ""
    cpus: Annotated[int, Range(1, 1024)] = 1
    memory_mb: Annotated[int, Range(1, 2**31)] = 512
    disk_mb: Annotated[int, SIZE] = 0
    nics: Annotated[int, Range(1, 64)] = 1
    quantity: Annotated[int, Range(1, 10_000)] = 1
    type: Annotated[str, Length(63)] = "any"
    start: Annotated[str, Length(40)] = ""
    stop: Annotated[str, Length(40)] = ""
    ha: bool = False
    hostname: Annotated[str, Check(_blank_or_hostname)] = ""
    ssh_key: Annotated[str, Check(_blank_or_key)] = ""
    partial: bool = False
    reason: Annotated[str, Length(500)] = ""
    user: Ref = ""


def moment(text: str, what: str) -> int:
    """Microseconds of an ISO 8601 time, 0 of an empty text. Raises InvalidInput."""
    if not text:
        return 0
    try:
        return from_iso(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{what} {names.shown(text)} is not an ISO 8601 time", hint="2030-01-31T18:00:00Z") from None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What of an image an order depends on."""

    name: str
    size_mb: int
    min_memory_mb: int


def check(spec: RequestSpec, image: ImageFacts, rules: Rules, user_id: int, now: int) -> Request:
    """The request that a spec means, in state ``new``, id 0.

    Raises:
        InvalidInput: a value that can't be.
    """
    start = max(now, moment(spec.start, "start"))
    stop = moment(spec.stop, "stop")
    disk = spec.disk_mb or image.size_mb
    _check_sizes(spec, rules, disk)
    check_lease(start, stop, rules)
    if disk < image.size_mb:
        raise InvalidInput(f"disk_mb must be at least {image.size_mb}, the size of image {image.name}")
    if spec.memory_mb < image.min_memory_mb:
        raise InvalidInput(f"memory_mb must be at least {image.min_memory_mb} for image {image.name}")
    if spec.type != "any":
        names.check_name(spec.type, "type")
    if spec.hostname and spec.quantity > 1:
        names.check_hostname(f"{spec.hostname}-{spec.quantity}")
    return Request(
        id=0,
        user_id=user_id,
        state=RequestState.NEW,
        image=image.name,
        type=spec.type,
        cpus=spec.cpus,
        memory_mb=spec.memory_mb,
        disk_mb=disk,
        nics=spec.nics,
        quantity=spec.quantity,
        start_at=start,
        stop_at=stop,
        ha=spec.ha,
        hostname=spec.hostname,
        ssh_key=spec.ssh_key,
        partial=spec.partial,
        reason=spec.reason,
        created_at=now,
    )


def _check_sizes(spec: RequestSpec, rules: Rules, disk_mb: int) -> None:
    for name, value, most in (
        ("quantity", spec.quantity, rules.max_quantity),
        ("cpus", spec.cpus, rules.max_cpus),
        ("memory_mb", spec.memory_mb, rules.max_memory_mb),
        ("disk_mb", disk_mb, rules.max_disk_mb),
        ("nics", spec.nics, rules.max_nics),
    ):
        if value > most:
            raise InvalidInput(f"{name} may be at most {most} here, not {value}", limit=name, most=most, asked=value)


def check_lease(start: int, stop: int, rules: Rules) -> None:
    """Refuse a lease that is too short. Raises InvalidInput."""
    if stop and stop < start + rules.min_lease_seconds * SECOND:
        raise InvalidInput(
            f"stop must be at least {rules.min_lease_seconds} seconds after start",
            hint="leave it out for an open end",
        )
