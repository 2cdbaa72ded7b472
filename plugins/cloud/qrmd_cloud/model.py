"""The cloud's objects as frozen rows. Times in integer microseconds UTC (0: none), amounts in micro-CCU."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from qrmd_cloud.states import MailState, RequestState, ServerState


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who orders. Limits of 0: none."""

    id: int
    name: str
    email: str
    password_hash: str
    created_at: int
    removed_at: int = 0
    limit_servers: int = 0
    limit_cpus: int = 0
    limit_memory_mb: int = 0
    limit_disk_mb: int = 0
    limit_nics: int = 0


class ProductKind(StrEnum):
    """What a price is for."""

    CPU = "cpu"  #: per ``unit`` processors
    MEMORY = "memory"  #: per ``unit`` MiB of memory
    DISK = "disk"  #: per ``unit`` MiB of disk
    NIC = "nic"  #: per ``unit`` network cards
    HA = "ha"  #: flat, for high availability
    TYPE = "type"  #: flat, for the virtualization type named by ``value``
    IMAGE = "image"  #: flat, for the image named by ``value``


@dataclass(frozen=True, slots=True)
class Product:
    """A price per hour. ``unit`` says how many processors, MiB or cards it is for."""

    id: int
    kind: ProductKind
    value: str
    name: str
    unit: int
    price_micro: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class Request:
    """An order. ``price_micro`` is per server and hour, frozen at approval; ``stop_at`` 0: open-ended.

    Attributes:
        explanation: why it found no resource or failed: the error's facts.
        wish: ``cancel`` or ``deprovision``, said while it was being provisioned.
        cause: why provisioning is being undone: ``no_resource`` or ``error``.
        placing: being provisioned, and not every server has its place yet.
        tried_at: when the last try began: what became free since is a reason for another.
        exhausted_at: its CCUs met their end, its servers are stopped, the grace runs.
        due_at: when its bill is to be looked at next.
    """

    id: int
    user_id: int
    state: RequestState
    image: str
    type: str
    cpus: int
    memory_mb: int
    disk_mb: int
    nics: int
    quantity: int
    start_at: int
    stop_at: int
    ha: bool
    hostname: str
    ssh_key: str
    partial: bool
    reason: str
    created_at: int
    approved_at: int = 0
    approved_by: str = ""
    price_micro: int = 0
    price_lines: tuple[dict[str, Any], ...] = ()
    explanation: dict[str, Any] = field(default_factory=dict)
    wish: str = ""
    cause: str = ""
    placing: bool = False
    attempts: int = 0
    tried_at: int = 0
    workflow_id: int = 0
    active_at: int = 0
    ended_at: int = 0
    warned_at: int = 0
    exhausted_at: int = 0
    due_at: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a request; ``appliance_id`` is its definition in the core while there is one."""

    id: int
    request_id: int
    user_id: int
    number: int
    hostname: str
    state: ServerState
    appliance_id: int | None = None
    workflow_id: int = 0
    address: str = ""
    login: str = ""
    active_at: int = 0
    note: str = ""


class LineKind(StrEnum):
    """What a line of the ledger is."""

    CREDIT = "credit"  #: CCUs given
    DEBIT = "debit"  #: CCUs taken away by an administrator
    CHARGE = "charge"  #: a server's time
    REFUND = "refund"  #: time charged before its end was known


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the ledger. ``amount_micro`` is signed as it changes the balance; ``balance_micro`` is after it.

    A charge is ``prorate(price, begin, from, to) - waived``: a line that met the end of the CCUs is cut to them.
    """

    id: int
    user_id: int
    at: int
    kind: LineKind
    amount_micro: int
    balance_micro: int
    server_id: int | None = None
    request_id: int | None = None
    begin_at: int = 0
    from_at: int = 0
    to_at: int = 0
    price_micro: int = 0
    waived_micro: int = 0
    actor: str = ""
    reason: str = ""


class MarkKind(StrEnum):
    """What the meter of a server was told."""

    ON = "on"  #: the server is active
    OFF = "off"  #: stopped by order, or down by our fault
    VOID = "void"  #: nothing before counts: provisioning was undone
    END = "end"  #: nothing after counts: given back


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark on the meter of a server, never changed."""

    id: int
    server_id: int
    at: int
    kind: MarkKind
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to be sent by a workflow of its own. ``variables`` never holds a secret."""

    id: int
    state: MailState
    recipient: str
    template: str
    variables: dict[str, Any]
    request_id: int | None = None
    at: int = 0
