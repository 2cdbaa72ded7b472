"""What a driver must offer, as protocols. Drivers block; they never sleep, never retry, never open a reactor.

Every method may be called again after a crash with the same arguments and must then find that it is already so.
Everything a driver makes outside carries the owner tag and nothing without our tag is ever touched.
Names and identifiers given to a driver are already checked (``qrmd.names``), yet are data: argv, never a shell.
A driver says what it can do by flags; the core never looks at its name.
The contract suites in ``qrmd.testing.contracts`` say the same in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from qrmd.model import Host, Storage


@dataclass(frozen=True, slots=True)
class OwnerTag:
    """Marks a thing outside as ours: which installation, for which object.

    Attributes:
        installation: UUID of the qrmd installation.
        subject: ``appliance:12``, ``image:3``, …
    """

    installation: str
    subject: str


@dataclass(frozen=True, slots=True)
class Found:
    """A thing found outside that carries our tag (the audit compares these with the ``owned`` rows).

    Attributes:
        kind: ``domain``, ``volume``, ``seed``, ``lease``, …
        external_id: the name by which ``remove`` of the same driver finds it.
        place: ``host:1``, ``storage:2``, ``network:1``.
        subject: from the owner tag; empty when the tag can't be read.
        detail: one line for people.
    """

    kind: str
    external_id: str
    place: str
    subject: str = ""
    detail: str = ""


# ---------------------------------------------------------------- storage


@dataclass(frozen=True, slots=True)
class StorageCapabilities:
    """What the core may offer for volumes of this deployment type.

    ``blocking`` False: calls return at once and are made on the reactor thread.
    """

    thin_clone: bool = False
    grow_offline: bool = True
    grow_online: bool = False
    shared_between_hosts: bool = False
    exclusive_export: bool = False
    formats: tuple[str, ...] = ("raw",)
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """Megabytes (2**20 bytes) of the place that holds the volumes."""

    total_mb: int
    free_mb: int


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """A volume as it is outside.

    Attributes:
        name: the external id, unique on its storage.
        format: ``raw`` or ``qcow2``.
        size_mb: what the guest sees, in MiB, rounded up.
        allocated_mb: what it takes on the storage now.
        complete: False while its content is being written (crash in the middle).
    """

    name: str
    format: str
    size_mb: int
    allocated_mb: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Attachment:
    """How a machine opens a volume, in a form every virtualization driver knows.

    Attributes:
        protocol: ``file``, ``block``, ``nbd`` or ``iscsi``.
        source: path or export name.
        format: ``raw`` or ``qcow2``.
        address: host:port for network protocols, else empty.
    """

    protocol: str
    source: str
    format: str
    address: str = ""


class StorageDriver(Protocol):
    """Volumes of one deployment type."""

    deployment_type: str
    capabilities: StorageCapabilities

    def check(self, storage: Storage) -> Sequence[str]:
        """What is missing before this storage can be used, one sentence each (empty: usable)."""
        ...

    def usage(self, storage: Storage) -> StorageUsage:
        """Space of the place. Raises StepFailed when the storage can't be reached."""
        ...

    def inspect(self, storage: Storage, path: Path, declared_format: str) -> VolumeFacts:
        """Header check of an image file about to be imported.

        Raises InvalidInput when it names a backing file, an external data file, or another format than declared.
        """
        ...

    def import_file(self, storage: Storage, volume: str, path: Path, fmt: str, tag: OwnerTag) -> VolumeFacts:
        """Copy a local file in as ``volume``; seen complete only when all of it is there and synced."""
        ...

    def clone(self, storage: Storage, source: str, volume: str, size_mb: int, tag: OwnerTag) -> VolumeFacts:
        """Writable copy of ``source``, grown to ``size_mb`` (never smaller), constant time where it can."""
        ...

    def copy(self, storage: Storage, source: str, volume: str, size_mb: int, tag: OwnerTag) -> VolumeFacts:
        """Full copy that does not depend on ``source``."""
        ...

    def resize(self, storage: Storage, volume: str, size_mb: int) -> VolumeFacts:
        """Grow. Shrinking raises InvalidInput."""
        ...

    def find(self, storage: Storage, volume: str) -> VolumeFacts | None:
        """The volume as it is, None when there is none."""
        ...

    def remove(self, storage: Storage, volume: str) -> None:
        """Remove it and all half-made parts of it; already gone is fine. Refuses what is not ours."""
        ...

    def export(self, storage: Storage, volume: str, consumer: str) -> Attachment:
        """Let ``consumer`` (``resource:7``), and where exclusive only it, open the volume."""
        ...

    def unexport(self, storage: Storage, volume: str, consumer: str) -> None:
        """Take it back; already so is fine."""
        ...

    def owned(self, storage: Storage, installation: str) -> Sequence[Found]:
        """Everything there that carries our tag, half-made parts included."""
        ...


# ---------------------------------------------------------------- virtualization


class MachineState(StrEnum):
    """A virtual machine as its host sees it."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting_down"
    OFF = "off"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class VirtualizationCapabilities:
    """What the core may offer on this virtualization type.

    ``blocking`` False: calls return at once and are made on the reactor thread.
    ``guest_answers`` False: guests are simulated, nobody answers ssh in them.
    ``measures_load`` False: ``load`` is not called; hosts are ranked by what they have promised alone.
    """

    live_migration: bool = False
    console_log: bool = True
    vnc: bool = False
    blocking: bool = True
    guest_answers: bool = True
    measures_load: bool = True


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host says of itself. ``problems``: sentences; empty means it can be used."""

    hostname: str
    cpus: int
    memory_mb: int
    version: str
    machine_uuid: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostLoad:
    """Measured now. ``cpu`` is 0..1 of all processors in use, memory in MiB that machines could take."""

    cpu: float
    memory_free_mb: int


@dataclass(frozen=True, slots=True)
class MachineDisk:
    """One disk of a machine; ``target`` is ``vda``, ``vdb`` and so on."""

    attachment: Attachment
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class MachineNic:
    """One network card."""

    mac: str
    bridge: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """All a virtualization driver needs to define a machine.

    Attributes:
        uuid: stable over the machine's life; the identity in every other call.
        name: unique on the host.
        seed: NoCloud files by name (``meta-data``, ``user-data``, …), put where the guest finds them;
            empty: no seed. They hold secrets: private to the hypervisor, removed with the machine.
    """

    uuid: str
    name: str
    cpus: int
    memory_mb: int
    disks: tuple[MachineDisk, ...]
    nics: tuple[MachineNic, ...]
    tag: OwnerTag
    seed: Mapping[str, str] = field(default_factory=dict)
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """A machine found on a host. ``reason``: why it is in this state (``ioerror-enospc``, ``crashed``, …)."""

    uuid: str
    name: str
    state: MachineState
    subject: str = ""
    reason: str = ""
    memory_mb: int = 0
    cpus: int = 0


MachineCallback = Callable[[str, MachineInfo], None]
"""(host name, machine as it is now); called from a driver's thread, must only hand over to the reactor."""


class VirtualizationDriver(Protocol):
    """Machines of one virtualization type on hosts."""

    virtualization_type: str
    capabilities: VirtualizationCapabilities

    def check(self, host: Host) -> HostFacts:
        """Connect and look. Raises StepFailed when the host does not answer within its deadline."""
        ...

    def load(self, host: Host) -> HostLoad:
        """Load now. Asked at each poll, so it is quick."""
        ...

    def define(self, host: Host, spec: MachineSpec) -> None:
        """Make the machine known (powered off) with its seed; again with the same spec changes nothing."""
        ...

    def undefine(self, host: Host, uuid: str) -> None:
        """Forget it, its seed, its console log; already gone is fine; a running machine is refused."""
        ...

    def power_on(self, host: Host, uuid: str) -> None:
        """Start; already running is fine."""
        ...

    def shutdown(self, host: Host, uuid: str) -> None:
        """Ask the guest to power off; returns at once; already off is fine."""
        ...

    def power_off(self, host: Host, uuid: str) -> None:
        """Pull the plug; returns when it is seen off; already off or unknown is fine."""
        ...

    def reset(self, host: Host, uuid: str) -> None:
        """Press the reset button."""
        ...

    def resume(self, host: Host, uuid: str) -> None:
        """Go on after a pause."""
        ...

    def find(self, host: Host, uuid: str) -> MachineInfo | None:
        """The machine as it is, None when the host knows none."""
        ...

    def machines(self, host: Host, installation: str) -> Sequence[MachineInfo]:
        """All machines on the host that carry our tag."""
        ...

    def owned(self, host: Host, installation: str) -> Sequence[Found]:
        """Everything there that carries our tag: machines, seeds, logs."""
        ...

    def remove_found(self, host: Host, found: Found) -> None:
        """Remove an orphan that ``owned`` listed."""
        ...

    def console_log(self, host: Host, uuid: str, limit: int) -> str:
        """The last ``limit`` bytes the guest wrote to its serial console."""
        ...

    def watch(self, host: Host, callback: MachineCallback) -> Callable[[], None]:
        """Call back at each change of a machine's state; returns the function that ends it."""
        ...

    def abort(self, host: Host) -> None:
        """Kill the connection so that a hung call ends. Called from another thread."""
        ...


class Auditor(Protocol):
    """A plugin's own list of things outside that are neither volumes nor machines."""

    plugin: str

    def places(self) -> Sequence[str]:
        """Where it looks: ``network:1``, ``zone:example.org``. One report (or `unknown`) each."""
        ...

    def owned(self, place: str) -> Sequence[Found]:
        """Everything at that place that is ours. Blocking. Raises when it can't be known."""
        ...

    def remove_found(self, found: Found) -> None:
        """Remove an orphan that ``owned`` listed."""
        ...


JSON = dict[str, Any]
