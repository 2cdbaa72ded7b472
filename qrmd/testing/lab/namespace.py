"""The network of a lab: a namespace of its own with one bridge. The machine's network is never touched."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pyroute2 import NetNS, netns

from qrmd.testing.lab.access import ADDRESS, BRIDGE, CIDR

NETNS_DIR = Path("/run/netns")


def create(name: str) -> None:
    """Make the namespace with a loopback and the bridge; a stale one of this name must be gone."""
    netns.create(name)
    with NetNS(name) as network:
        loopback = network.link_lookup(ifname="lo")[0]
        network.link("set", index=loopback, state="up")
        network.link("add", ifname=BRIDGE, kind="bridge")
        bridge = network.link_lookup(ifname=BRIDGE)[0]
        network.addr("add", index=bridge, address=ADDRESS, prefixlen=int(CIDR.partition("/")[2]))
        network.link("set", index=bridge, state="up")


def exists(name: str) -> bool:
    """Whether the name is taken, by a live namespace or by what a reboot left of one."""
    return (NETNS_DIR / name).exists()


def inode(name: str) -> tuple[int, int] | None:
    """Device and inode, which are the same for every process in the namespace; None if it does not exist."""
    try:
        status = (NETNS_DIR / name).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def remove(name: str) -> None:
    """Remove the namespace if it is there; its links vanish with the last process in it."""
    with contextlib.suppress(FileNotFoundError):
        netns.remove(name)
