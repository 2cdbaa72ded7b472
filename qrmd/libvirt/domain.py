"""The life of a domain. Each verb looks first, and finds what it wants already so.

All functions take a ``virConnect`` (or a domain) inside a ``Connections.call`` block and may raise ``libvirtError``.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt

from qrmd.drivers import MachineInfo, MachineState
from qrmd.errors import Conflict, InvalidInput, NotFound
from qrmd.libvirt.faults import is_missing
from qrmd.libvirt.tag import NAMESPACE, Label, read_label

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: MachineState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: MachineState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: MachineState.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: MachineState.OFF,
    libvirt.VIR_DOMAIN_CRASHED: MachineState.CRASHED,
}
_REASONS = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): "user",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): "ioerror",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION): "migration",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_WATCHDOG): "watchdog",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): "crashed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN): "shutdown",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED): "destroyed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): "crashed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): "failed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED): "migrated",
}
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


@dataclass(frozen=True, slots=True)
class Tagged:
    """A domain that carries our label."""

    domain: Any
    label: Label


def lookup(connection: Any, uuid: str) -> Any | None:
    """The domain, tagged or not; None when the host knows none."""
    try:
        return connection.lookupByUUIDString(check_uuid(uuid))
    except libvirt.libvirtError as error:
        if is_missing(error):
            return None
        raise


def own(connection: Any, uuid: str, installation: str = "") -> Tagged | None:
    """Our domain; None when the host knows none.

    Args:
        connection: a ``virConnect``.
        uuid: of the domain.
        installation: ours; empty: any qrmd's.

    Raises:
        Conflict: it is there and not ours; it is left alone.
    """
    domain = lookup(connection, uuid)
    if domain is None:
        return None
    label = label_of(domain)
    if label is None or (installation and label.tag.installation != installation):
        whose = "carries no tag of qrmd" if label is None else "belongs to another installation of qrmd"
        raise Conflict(f"machine {uuid} {whose} and is left alone", hint="remove or rename it on the host yourself")
    return Tagged(domain, label)


def require(connection: Any, uuid: str, installation: str = "") -> Any:
    """As ``own``, but a machine that is not there raises NotFound."""
    found = own(connection, uuid, installation)
    if found is None:
        raise NotFound(f"the host knows no machine {uuid}", hint="define it first")
    return found.domain


def label_of(domain: Any) -> Label | None:
    """Our label on it, None when there is none or the domain has gone meanwhile."""
    try:
        return read_label(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, 0))
    except libvirt.libvirtError as error:
        if is_missing(error) or error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise


def tagged(connection: Any, installation: str = "") -> Iterator[Tagged]:
    """All domains with our label, running or not; empty ``installation``: any qrmd's."""
    for domain in connection.listAllDomains(0):
        label = label_of(domain)
        if label is not None and (not installation or label.tag.installation == installation):
            yield Tagged(domain, label)


def describe(found: Tagged) -> MachineInfo | None:
    """The machine as it is now; None when it has gone meanwhile."""
    domain = found.domain
    try:
        state, reason = domain.state()
        _state, _maximum, memory_kib, cpus, _time = domain.info()
        why = _REASONS.get((state, reason), "")
        if why == "ioerror" and "no space" in set(_disk_errors(domain)):
            why = "ioerror-enospc"
    except libvirt.libvirtError as error:
        if is_missing(error):
            return None
        raise
    return MachineInfo(
        uuid=domain.UUIDString(),
        name=domain.name(),
        state=_STATES.get(state, MachineState.RUNNING),
        subject=found.label.tag.subject,
        reason=why,
        memory_mb=memory_kib // 1024,
        cpus=cpus,
    )


def find(connection: Any, uuid: str, installation: str = "") -> MachineInfo | None:
    """Our machine as it is; None when the host knows none, or one that is not ours."""
    try:
        found = own(connection, uuid, installation)
    except Conflict:
        return None
    return describe(found) if found else None


def machines(connection: Any, installation: str) -> list[MachineInfo]:
    """All machines that carry our tag."""
    return [info for found in tagged(connection, installation) if (info := describe(found))]


def is_active(domain: Any) -> bool:
    """Whether there is a hypervisor process or context for it."""
    return bool(domain.isActive())


def power_on(domain: Any) -> None:
    """Start it, or resume it when it is paused by a user."""
    if not is_active(domain):
        _unless_so(domain.create, lambda: is_active(domain))


_GOING = (libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)


def shutdown(domain: Any) -> None:
    """Press the power button; already off, or on the way there, is fine."""
    if is_active(domain):
        _unless_so(domain.shutdown, lambda: domain.state()[0] in _GOING)


def destroy(domain: Any) -> None:
    """Pull the plug and see it off."""
    if is_active(domain):
        _unless_so(domain.destroy, lambda: not is_active(domain))


def reset(domain: Any) -> None:
    """Press the reset button; refused by libvirt when it is off."""
    domain.reset(0)


def resume(domain: Any) -> None:
    """Go on after a pause; running already is fine."""
    if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        _unless_so(domain.resume, lambda: domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING)


def undefine(domain: Any) -> None:
    """Forget it.

    Raises:
        Conflict: it runs.
    """
    if is_active(domain):
        raise Conflict(f"machine {domain.UUIDString()} runs, so it is not removed", hint="power it off first")
    try:
        domain.undefineFlags(_UNDEFINE)
    except libvirt.libvirtError as error:
        if not is_missing(error):
            raise


def check_uuid(uuid: str) -> str:
    """The UUID, if it is one in the usual form.

    Raises:
        InvalidInput: otherwise.
    """
    with suppress(ValueError):
        if str(uuids.UUID(uuid)) == uuid:
            return uuid
    raise InvalidInput(f"{uuid[:60]!a} is not a UUID in lower case with dashes")


def _unless_so(verb: Any, is_so: Any) -> None:
    """Somebody else may have done it between our look and our deed."""
    try:
        verb()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not is_so():
            raise


def _disk_errors(domain: Any) -> Iterator[str]:
    names = {libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE: "no space", libvirt.VIR_DOMAIN_DISK_ERROR_UNSPEC: "unspecified"}
    with suppress(libvirt.libvirtError):
        yield from (names.get(code, "") for code in (domain.diskErrors() or {}).values())
