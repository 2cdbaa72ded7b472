"""Types of parameters that many verbs share."""

from __future__ import annotations

from typing import Annotated

from qrmd.names import (
    check_address,
    check_bridge,
    check_domain,
    check_hostname,
    check_name,
    check_ssh_key,
)
from qrmd.operations.schema import Check, Length, Range, Ref

Name = Annotated[str, Check(check_name)]
HostName = Annotated[str, Check(check_hostname)]
Domain = Annotated[str, Check(check_domain)]
Bridge = Annotated[str, Check(check_bridge)]
Address = Annotated[str, Check(check_address)]
SshKey = Annotated[str, Check(check_ssh_key)]
Text = Annotated[str, Length(500)]
Path = Annotated[str, Length(1000)]
Uri = Annotated[str, Length(500)]
Cpus = Annotated[int, Range(1, 512)]
Megabytes = Annotated[int, Range(1, 64 * 2**20)]
Memory = Annotated[int, Range(32, 16 * 2**20)]
Seconds = Annotated[float, Range(0, 3600)]
Ident = Annotated[int, Range(1, 2**53)]

__all__ = [
    "Address", "Bridge", "Cpus", "Domain", "HostName", "Ident", "Megabytes", "Memory", "Name", "Path", "Ref",
    "Seconds", "SshKey", "Text", "Uri",
]  # fmt: skip
