"""A data centre on one machine: a network namespace with a bridge, a real libvirt with QEMU, an SMTP sink.

``up`` and ``down`` are in :mod:`qrmd.testing.lab.lab`; what they hand out is :class:`LabAccess`.
"""

from qrmd.testing.lab.access import LabAccess, exec_argv

__all__ = ["LabAccess", "exec_argv"]
