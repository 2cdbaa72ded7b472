"""What every virtualization plugin on libvirt shares: bounded connections, events, domains, private volumes.

Needs the extra ``qrmd[libvirt]``. Everything here blocks, and everything ends: each call has a deadline after
which the socket below it is shut down. Plugins may import the names of this page.
"""

from qrmd.libvirt.connection import Connection, Connections
from qrmd.libvirt.domain import (
    Tagged,
    destroy,
    find,
    lookup,
    machines,
    power_on,
    reset,
    resume,
    shutdown,
    undefine,
)
from qrmd.libvirt.faults import translate
from qrmd.libvirt.tag import NAMESPACE, Label, build_label, read_label
from qrmd.libvirt.volumes import Shelf, open_shelf, shelf_name, shelves
from qrmd.libvirt.watch import Watch

__all__ = [
    "NAMESPACE",
    "Connection",
    "Connections",
    "Label",
    "Shelf",
    "Tagged",
    "Watch",
    "build_label",
    "destroy",
    "find",
    "lookup",
    "machines",
    "open_shelf",
    "power_on",
    "read_label",
    "reset",
    "resume",
    "shelf_name",
    "shelves",
    "shutdown",
    "translate",
    "undefine",
]
