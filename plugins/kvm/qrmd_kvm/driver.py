"""The driver of virtualization type ``kvm-vm``."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qrmd import libvirt as domains
from qrmd.api import (
    Conflict,
    Found,
    Host,
    HostFacts,
    HostLoad,
    InvalidInput,
    MachineCallback,
    MachineInfo,
    MachineSpec,
    StepFailed,
    VirtualizationCapabilities,
)
from qrmd.libvirt import Connections, Shelf, Watch, check_uuid, open_shelf, own, require, shelf_name, tagged
from qrmd_kvm import trial
from qrmd_kvm.config import Config
from qrmd_kvm.domain import Hardware, build_domain, check_spec
from qrmd_kvm.facts import LoadMeter, read_facts
from qrmd_kvm.seed import MAX_BYTES, build_seed, read_seed

_SEED_LIMIT = 2 * MAX_BYTES
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KINDS = {".iso": "seed", ".log": "console"}


class KvmDriver:
    """Machines on KVM and QEMU hosts. Thread-safe; each call ends within the seconds of the configuration."""

    virtualization_type = "kvm-vm"

    def __init__(self, installation: str, config: Config) -> None:
        self.capabilities = VirtualizationCapabilities(vnc=config.vnc)
        self._installation = installation
        self._config = config
        self._connections = Connections(config.open_seconds)
        self._meter = LoadMeter()
        self._without_kvm: dict[str, str] = {}
        self._shelf_locks: dict[str, threading.Lock] = {}

    def check(self, host: Host) -> HostFacts:
        """See ``VirtualizationDriver``; the first check of a host may start a trial guest."""
        self._domain_type(host)
        with self._connections.call(host, "check the host", self._config.change_seconds) as connection:
            reason = self._without_kvm.get(host.uri, "")
            with self._shelf(host, connection) as shelf:
                return read_facts(connection, shelf, self._config.clock_skew_seconds, reason)

    def load(self, host: Host) -> HostLoad:
        """See ``VirtualizationDriver``."""
        with self._look(host, "read the load") as connection:
            return self._meter.read(connection, host.uri)

    def define(self, host: Host, spec: MachineSpec) -> None:
        """See ``VirtualizationDriver``. Another specification for a running machine is a Conflict."""
        check_spec(spec)
        if spec.tag.installation != self._installation:
            raise InvalidInput("a machine can be defined for our own installation only", subject=f"machine:{spec.name}")
        domain_type = self._domain_type(host)
        with (
            self._change(host, f"define machine {spec.name}") as connection,
            self._shelf(host, connection) as shelf,
        ):
            xml, digest = build_domain(spec, self._hardware(spec, shelf, domain_type))
            found = own(connection, spec.uuid, self._installation)
            same_seed = self._has_seed(shelf, spec)
            if found is not None and found.label.digest == digest and same_seed:
                return
            if found is not None and domains.is_active(found.domain):
                raise _runs(host, spec.name, "changed")
            self._refuse_taken_name(connection, host, spec)
            if not same_seed:
                self._put_seed(shelf, spec)
            connection.defineXML(xml)

    def undefine(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``. The files go first, so a crash in between leaves what is found again."""
        check_uuid(uuid)
        with self._change(host, f"remove machine {uuid}") as connection:
            found = own(connection, uuid, self._installation)
            if found is not None and domains.is_active(found.domain):
                raise _runs(host, uuid, "removed")
            with self._shelf(host, connection) as shelf:
                for name in shelf.names(uuid):
                    shelf.remove(name)
            if found is not None:
                domains.undefine(found.domain)

    def power_on(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        with self._change(host, f"start machine {uuid}") as connection:
            domains.power_on(require(connection, uuid, self._installation))

    def shutdown(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``; by ACPI."""
        with self._change(host, f"shut down machine {uuid}") as connection:
            domains.shutdown(require(connection, uuid, self._installation))

    def power_off(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        with self._change(host, f"power off machine {uuid}") as connection:
            found = own(connection, uuid, self._installation)
            if found is not None:
                domains.destroy(found.domain)

    def reset(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``; a machine that is off is a Conflict."""
        with self._change(host, f"reset machine {uuid}") as connection:
            domains.reset(require(connection, uuid, self._installation))

    def resume(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        with self._change(host, f"resume machine {uuid}") as connection:
            domains.resume(require(connection, uuid, self._installation))

    def find(self, host: Host, uuid: str) -> MachineInfo | None:
        """See ``VirtualizationDriver``."""
        with self._look(host, f"look at machine {uuid}") as connection:
            return domains.find(connection, uuid, self._installation)

    def machines(self, host: Host, installation: str) -> Sequence[MachineInfo]:
        """See ``VirtualizationDriver``."""
        with self._look(host, "list machines") as connection:
            return domains.machines(connection, installation)

    def owned(self, host: Host, installation: str) -> Sequence[Found]:
        """See ``VirtualizationDriver``. Kinds ``domain``, ``seed`` and ``console``, each by the machine's UUID."""
        with self._look(host, "list what is ours") as connection:
            subjects = {}
            found = []
            for item in tagged(connection, installation):
                uuid = item.domain.UUIDString()
                subjects[uuid] = item.label.tag.subject
                found.append(self._found("domain", uuid, host, subjects, item.domain.name()))
            with self._shelf(host, connection, installation) as shelf:
                return [*found, *self._files(shelf, host, subjects)]

    def remove_found(self, host: Host, found: Found) -> None:
        """See ``VirtualizationDriver``. A domain is powered off first and goes with its files."""
        if found.kind == "domain":
            self.power_off(host, found.external_id)
            self.undefine(host, found.external_id)
            return
        if not found.external_id:
            raise InvalidInput("it has no name", subject=f"host:{host.name}")
        with (
            self._change(host, f"remove {found.kind} {found.external_id}") as connection,
            self._shelf(host, connection) as shelf,
        ):
            for name in shelf.names(found.external_id):
                if _kind(name) == found.kind:
                    shelf.remove(name)

    def console_log(self, host: Host, uuid: str, limit: int) -> str:
        """See ``VirtualizationDriver``. Reaches back over one rotation of virtlogd."""
        name = f"{self._stem(check_uuid(uuid))}.log"
        with (
            self._look(host, f"read the console of machine {uuid}") as connection,
            self._shelf(host, connection) as shelf,
        ):
            text = shelf.read(name, limit) or b""
            if len(text) < limit:
                text = (shelf.read(f"{name}.0", limit - len(text)) or b"") + text
        return text.decode(errors="replace")

    def watch(self, host: Host, callback: MachineCallback) -> Callable[[], None]:
        """See ``VirtualizationDriver``. Goes on through every loss of the connection."""
        return Watch(host, self._connections, callback, self._installation).stop

    def abort(self, host: Host) -> None:
        """See ``VirtualizationDriver``. Calls that run end with OutcomeUnknown; the watch connects again."""
        self._connections.abort(host)

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _look(self, host: Host, what: str) -> Any:
        return self._connections.call(host, what, self._config.query_seconds)

    def _change(self, host: Host, what: str) -> Any:
        return self._connections.call(host, what, self._config.change_seconds)

    @contextmanager
    def _shelf(self, host: Host, connection: Any, installation: str = "") -> Iterator[Shelf]:
        """Our pool, for us alone: libvirt refuses to look at a pool while somebody else writes a file in it."""
        lock = self._shelf_locks.setdefault(host.uri, threading.Lock())
        if not lock.acquire(timeout=self._config.change_seconds):
            raise StepFailed("another call holds our files there", subject=f"host:{host.name}", hint="try again")
        try:
            yield open_shelf(connection, installation or self._installation, self._config.directory)
        finally:
            lock.release()

    def _stem(self, uuid: str) -> str:
        return f"{shelf_name(self._installation)}-{uuid}"

    def _hardware(self, spec: MachineSpec, shelf: Shelf, domain_type: str) -> Hardware:
        stem = self._stem(spec.uuid)
        return Hardware(
            domain_type=domain_type,
            cpu_mode=self._cpu_mode(domain_type),
            machine=self._config.machine,
            vnc=self._config.vnc,
            seed=shelf.path(f"{stem}.iso") if spec.seed else "",
            console=shelf.path(f"{stem}.log"),
        )

    def _cpu_mode(self, domain_type: str) -> str:
        fastest = "host-passthrough" if domain_type == "kvm" else "maximum"
        return fastest if self._config.cpu_mode == "auto" else self._config.cpu_mode

    def _domain_type(self, host: Host) -> str:
        """As configured, or as a trial on the host showed; asked once per host."""
        if self._config.domain_type != "auto":
            return self._config.domain_type
        if host.uri not in self._without_kvm:
            with (
                self._change(host, "try whether KVM runs guests") as connection,
                self._shelf(host, connection) as shelf,
            ):
                fault = trial.find_fault(connection, shelf, self._installation, self._cpu_mode("kvm"))
            self._without_kvm[host.uri] = fault
        return "qemu" if self._without_kvm[host.uri] else "kvm"

    def _has_seed(self, shelf: Shelf, spec: MachineSpec) -> bool:
        volume = shelf.read(f"{self._stem(spec.uuid)}.iso", _SEED_LIMIT)
        if not spec.seed:
            return volume is None
        return volume is not None and read_seed(volume) == dict(spec.seed)

    def _put_seed(self, shelf: Shelf, spec: MachineSpec) -> None:
        name = f"{self._stem(spec.uuid)}.iso"
        if spec.seed:
            shelf.write(name, build_seed(spec.seed))
        else:
            shelf.remove(name)

    def _refuse_taken_name(self, connection: Any, host: Host, spec: MachineSpec) -> None:
        for domain in connection.listAllDomains(0):
            if domain.name() == spec.name and domain.UUIDString() != spec.uuid:
                raise Conflict(
                    f"another machine is named {spec.name} there",
                    subject=f"host:{host.name}",
                    hint="choose another name",
                )

    def _files(self, shelf: Shelf, host: Host, subjects: dict[str, str]) -> Iterator[Found]:
        seen = set()
        for name in shelf.names():
            kind, match = _kind(name), _UUID.search(name)
            uuid = match[0] if match else name
            if (kind, uuid) not in seen:
                seen.add((kind, uuid))
                yield self._found(kind, uuid, host, subjects, shelf.path(name))

    def _found(self, kind: str, uuid: str, host: Host, subjects: dict[str, str], detail: str) -> Found:
        return Found(kind, uuid, f"host:{host.id}", subjects.get(uuid, ""), detail)


def _runs(host: Host, machine: str, what: str) -> Conflict:
    return Conflict(
        f"machine {machine} runs, so it is not {what}", subject=f"host:{host.name}", hint="power it off first"
    )


def _kind(name: str) -> str:
    return next((kind for suffix, kind in _KINDS.items() if suffix in name), "file")
