"""libvirt's errors in qrmd's words: what happened, where, what to do next."""

from __future__ import annotations

import libvirt

from qrmd.errors import Conflict, NotFound, OutcomeUnknown, QrmdError, StepFailed

_LOST_DOMAINS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
_LOST_CODES = frozenset({libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_NO_CONNECT})
_MISSING = frozenset({libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_NO_STORAGE_VOL})
_HINTS = (
    ("interface MTU", "create the bridge on the host, or correct the network"),
    ("get interface", "create the bridge on the host, or correct the network"),
    ("No such device", "create the bridge on the host, or correct the network"),
    ("virt type 'kvm'", 'enable virtualization in the host\'s firmware, or set domain_type = "qemu"'),
    ("invalid domain type kvm", 'enable virtualization in the host\'s firmware, or set domain_type = "qemu"'),
    ("failed to initialize kvm", 'enable virtualization in the host\'s firmware, or set domain_type = "qemu"'),
    ("No space left", "free space on the host"),
    ("annot allocate memory", "free memory on the host, or place the machine elsewhere"),
    ("cannot set up guest memory", "free memory on the host, or place the machine elsewhere"),
    ("Permission denied", "let the hypervisor's user read the file and pass its directories"),
    ("No such file", "see whether the storage is mounted on the host"),
    ("state change lock", "another call holds the machine; see the log of libvirtd"),
    ("authentication", "let the user of qrmd use libvirt on the host (group libvirt, or a polkit rule)"),
    ("already in use", "see which machine holds it on the host"),
)


def is_lost(error: libvirt.libvirtError) -> bool:
    """Whether the connection broke, so that nobody knows what became of the call."""
    return error.get_error_domain() in _LOST_DOMAINS and (
        error.get_error_code() in _LOST_CODES
        or error.get_error_code() in {libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR}
    )


def is_missing(error: libvirt.libvirtError) -> bool:
    """Whether the thing asked for is not there."""
    return error.get_error_code() in _MISSING


def translate(error: libvirt.libvirtError, host: str, what: str) -> QrmdError:
    """The qrmd error for a failed call.

    Args:
        error: as libvirt raised it.
        host: name of the host.
        what: what was being done: ``start machine 5f…``.
    """
    subject = f"host:{host}"
    said = str(error.get_error_message() or error)
    if is_lost(error):
        return OutcomeUnknown(
            f"the connection to libvirtd broke while trying to {what}: {said}",
            subject=subject,
            hint="it is looked at again before it is repeated; see on the host whether libvirtd runs",
        )
    if is_missing(error):
        return NotFound(f"can't {what}: {said}", subject=subject, hint="it was removed on the host; define it again")
    hint = next((hint for text, hint in _HINTS if text.lower() in said.lower()), "see the log of libvirtd on the host")
    if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
        return Conflict(f"can't {what}: {said}", subject=subject, hint="look at the machine's state on the host")
    return StepFailed(f"can't {what}: {said}", subject=subject, hint=hint)
