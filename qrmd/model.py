"""The objects of a data centre as frozen rows. No I/O.

Units: memory and disk in MiB, times in integer microseconds since the epoch (UTC), ids are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from qrmd.states import ApplianceState, HostState, ImageState, ResourceState


class Role(StrEnum):
    """What a user of the administration may do."""

    ADMINISTRATOR = "administrator"  #: everything
    OPERATOR = "operator"  #: run servers, answer requests; no users, plugins or settings
    READONLY = "readonly"  #: look
    CLOUD = "cloud"  #: a cloud user: only the own requests, servers and account


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. ``name`` is ``user:anna``, ``cloud:bob``, ``plugin:cloud``, ``system`` …; it goes into each event.

    Attributes:
        account: number of its account, which no other one ever gets; a name may be given again (0: it has none).
        until: microseconds at which the token that it asks with expires (0: never, or no token).
    """

    name: str
    role: Role
    cloud_user_id: int | None = None
    account: int = 0
    until: int = 0


SYSTEM = Actor("system", Role.ADMINISTRATOR)


@dataclass(frozen=True, slots=True)
class Host:
    """A resource that runs virtual machines."""

    id: int
    name: str
    uri: str
    virtualization_type: str
    state: HostState
    cpus: int = 0
    memory_mb: int = 0
    cpu_overcommit: float = 4.0
    memory_overcommit: float = 1.0
    reserved_memory_mb: int = 512
    facts: dict[str, Any] = field(default_factory=dict)
    seen_at: int = 0


@dataclass(frozen=True, slots=True)
class Storage:
    """A place offering volumes of one deployment type. ``host_id`` None: reached by every host."""

    id: int
    name: str
    deployment_type: str
    location: str
    host_id: int | None = None
    capacity_mb: int = 0
    overcommit: float = 1.0


@dataclass(frozen=True, slots=True)
class Network:
    """A managed network: a bridge that exists on its hosts, and the addresses we give out on it."""

    id: int
    name: str
    bridge: str
    cidr: str
    range_first: str
    range_last: str
    gateway: str = ""
    dns: tuple[str, ...] = ()
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel with its initrd, as files on the server."""

    id: int
    name: str
    path: str
    initrd: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """A root disk held on a storage. ``volume`` is its external id there."""

    id: int
    name: str
    storage_id: int
    volume: str
    format: str
    size_mb: int
    state: ImageState
    sha256: str = ""
    source: str = ""
    default_user: str = "root"
    min_memory_mb: int = 0
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """A bootable machine. A virtual one has a host; ``uuid`` is its identity there."""

    id: int
    name: str
    virtualization_type: str
    uuid: str
    state: ResourceState
    host_id: int | None = None
    cpus: int = 0
    memory_mb: int = 0
    appliance_id: int | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card of an appliance with its reserved address."""

    id: int
    appliance_id: int
    position: int
    network_id: int
    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk of an appliance. ``made`` False: reserved, not there yet."""

    id: int
    appliance_id: int
    storage_id: int
    position: int
    name: str
    format: str
    size_mb: int
    made: bool = False


@dataclass(frozen=True, slots=True)
class Appliance:
    """A service definition: image + kernel + requirements, and the resource it runs on.

    ``virtualization_type`` may be ``any``. ``owner`` is an actor name. ``resource_id`` is set while it holds one.
    """

    id: int
    name: str
    image_id: int
    virtualization_type: str
    cpus: int
    memory_mb: int
    disk_mb: int
    state: ApplianceState
    hostname: str = ""
    kernel_id: int | None = None
    resource_id: int | None = None
    host_id: int | None = None
    networks: tuple[int, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    login: str = "root"
    owner: str = ""
    comment: str = ""
    placement: dict[str, Any] = field(default_factory=dict)
    created_at: int = 0
    active_at: int = 0


@dataclass(frozen=True, slots=True)
class NicView:
    """A NIC with the network it is on."""

    nic: Nic
    network: Network


@dataclass(frozen=True, slots=True)
class VolumeView:
    """A volume with the storage it is on."""

    volume: Volume
    storage: Storage


@dataclass(frozen=True, slots=True)
class ApplianceView:
    """All that planners of appliance verbs see: the subject and its reservations, nothing else.

    Attributes:
        installation: UUID of this qrmd.
        secrets: names of secrets made for this workflow → ``secret:<id>`` references.
        arguments: what the caller said, checked.
    """

    installation: str
    appliance: Appliance
    image: Image
    image_storage: Storage
    kernel: Kernel | None
    resource: Resource | None
    host: Host | None
    nics: tuple[NicView, ...]
    volumes: tuple[VolumeView, ...]
    secrets: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageView:
    """All that planners of image verbs see."""

    installation: str
    image: Image
    storage: Storage
    source: Image | None = None
    source_storage: Storage | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


class Severity(StrEnum):
    """How loud an event is."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """An audited fact. ``kind`` is past tense: ``appliance.started``; ``subject`` is ``appliance:12``."""

    id: int
    at: int
    kind: str
    severity: Severity
    actor: str
    reason: str
    subject: str
    workflow_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
