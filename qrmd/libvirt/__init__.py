"""What every virtualization plugin on libvirt shares: bounded connections, events, domains, private volumes.

Needs the extra ``qrmd[libvirt]``. Everything here blocks, and everything ends: each call has a deadline after
which the socket below it is shut down. Plugins may import the names of this page.
"""

from qrmd.libvirt.connection import Connection, Connections
from qrmd.libvirt.domain import (
    Tagged,
    check_uuid,
    destroy,
    find,
    is_active,
    lookup,
    machines,
    own,
    power_on,
    require,
    reset,
    resume,
    shutdown,
    tagged,
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
    "check_uuid",
    "destroy",
    "find",
    "is_active",
    "lookup",
    "machines",
    "open_shelf",
    "own",
    "power_on",
    "read_label",
    "require",
    "reset",
    "resume",
    "shelf_name",
    "shelves",
    "shutdown",
    "tagged",
    "translate",
    "undefine",
]
