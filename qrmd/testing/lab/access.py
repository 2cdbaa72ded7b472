"""What a user of a lab has to know, and where each lab keeps its things."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qrmd.errors import InvalidInput

RUN_DIR = Path("/run/qrm-lab")
"""Each lab has a directory of its name here: short, because socket paths may have 107 bytes only."""

BRIDGE = "br0"
ADDRESS = "10.77.0.1"
CIDR = "10.77.0.0/24"
SMTP_PORT = 2525


@dataclass(frozen=True)
class LabAccess:
    """A running lab. The addresses mean something inside its network namespace only; see ``exec_argv``."""

    name: str
    namespace: str  # as in /run/netns
    bridge: str
    address: str  # of the bridge, which is the only way in and out of the guests
    cidr: str
    libvirt_uri: str  # works from every namespace: it names a socket by its path
    domain_type: str  # 'kvm' where KVM really boots a guest, else 'qemu'
    smtp_host: str
    smtp_port: int
    mail_dir: Path  # one .eml file per mail
    micro_image: Path  # qcow2; the same disk as raw is beside it
    state_dir: Path

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON types; paths are strings."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        InvalidInput: it could not be a directory, a host and a namespace name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
        raise InvalidInput(f"{name[:40]!r} can't name a lab", hint="use up to 20 of a-z, 0-9 and -, a letter first")
    return name


def state_dir(name: str) -> Path:
    """Where the lab of this name keeps everything but its images."""
    return RUN_DIR / check_name(name)


def namespace_of(name: str) -> str:
    """The network namespace of the lab of this name."""
    return f"qrm-lab-{check_name(name)}"


def make_access(name: str, domain_type: str, micro_image: Path) -> LabAccess:
    """The access to a lab of this name; says nothing about whether it runs."""
    directory = state_dir(name)
    return LabAccess(
        name=name,
        namespace=namespace_of(name),
        bridge=BRIDGE,
        address=ADDRESS,
        cidr=CIDR,
        libvirt_uri=f"qemu+unix:///system?socket={directory}/libvirt-sock",
        domain_type=domain_type,
        smtp_host=ADDRESS,
        smtp_port=SMTP_PORT,
        mail_dir=directory / "mail",
        micro_image=micro_image,
        state_dir=directory,
    )


def exec_argv(access: LabAccess, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` in the lab's network, with the caller's files (needs root)."""
    return ["nsenter", f"--net=/run/netns/{access.namespace}", "--", *argv]
