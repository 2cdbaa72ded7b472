"""Settings of the kvm plugin."""

from __future__ import annotations

from dataclasses import dataclass

from qrmd.api import ConfigInvalid

_CHOICES = {
    "domain_type": ("auto", "kvm", "qemu"),
    "cpu_mode": ("auto", "host-passthrough", "host-model", "maximum"),
}


@dataclass(frozen=True, slots=True)
class Config:
    """As in ``kvm.toml``.

    Attributes:
        domain_type: ``auto``, ``kvm`` or ``qemu``.
        cpu_mode: ``auto`` or one of libvirt's.
        machine: QEMU's machine type; empty: libvirt's choice.
        directory: on the hosts, for seeds and console logs.
        vnc: whether machines get a VNC console on a private socket.
        open_seconds: to connect.
        query_seconds: for a call that looks.
        change_seconds: for a call that changes something.
        clock_skew_seconds: difference of clocks that is reported.
    """

    domain_type: str = "auto"
    cpu_mode: str = "auto"
    machine: str = "pc"
    directory: str = "/var/lib/libvirt/qrmd"
    vnc: bool = True
    open_seconds: int = 5
    query_seconds: int = 20
    change_seconds: int = 60
    clock_skew_seconds: int = 5

    def __post_init__(self) -> None:
        """Refuse what can't work.

        Raises:
            ConfigInvalid: names the key.
        """
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigInvalid(f"{key} must be one of {', '.join(choices)}", subject="kvm.toml")
        if not self.directory.startswith("/"):
            raise ConfigInvalid("directory must be an absolute path", subject="kvm.toml")
        for key in ("open_seconds", "query_seconds", "change_seconds", "clock_skew_seconds"):
            if getattr(self, key) < 1:
                raise ConfigInvalid(f"{key} must be at least 1", subject="kvm.toml")
