"""Small private files on a host (seeds, console logs), through libvirt's storage: remote hosts work like local ones.

One directory pool per installation, ``qrmd-<first 8 of its UUID>``, made when it is needed and transient: a host that
reboots forgets the pool and keeps the files, and the next look finds them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
from defusedxml import ElementTree as SafeET

from qrmd.libvirt.faults import is_missing

_PREFIX = "qrmd-"
_DIRECTORY_MODE = "0711"  # the hypervisor's own user passes through and opens by name; nobody lists
_FILE_MODE = "0600"
_CHUNK = 256 * 1024


class Shelf:
    """The pool of one installation on one host, inside a ``Connections.call`` block."""

    def __init__(self, connection: Any, pool: Any) -> None:
        self._connection = connection
        self._pool = pool
        root = SafeET.fromstring(pool.XMLDesc(0))
        self.directory = PurePosixPath(root.findtext("target/path") or "/")

    def path(self, name: str) -> str:
        """Where the file is on the host."""
        return str(self.directory / name)

    def names(self, part: str = "") -> list[str]:
        """The files that are there now and whose name contains ``part``."""
        self._pool.refresh(0)
        return sorted(name for name in self._pool.listVolumes() if part in name)

    def write(self, name: str, data: bytes) -> None:
        """Make the file anew with this content, private."""
        self.remove(name)
        volume = self._pool.createXML(_volume_xml(name, len(data)), 0)
        if data:
            stream = self._connection.newStream(0)
            try:
                volume.upload(stream, 0, len(data), 0)
                _send(stream, data)
                stream.finish()
            except libvirt.libvirtError:
                stream.abort()
                raise

    def read(self, name: str, limit: int) -> bytes | None:
        """The last ``limit`` bytes; None when there is no such file."""
        volume = self._find(name)
        if volume is None:
            return None
        size = volume.info()[1]
        wanted = min(size, limit)
        return self._download(volume, size - wanted, wanted) if wanted > 0 else b""

    def written_at(self, name: str) -> float | None:
        """When it was changed, in seconds of the host's clock since the epoch."""
        volume = self._find(name)
        text = SafeET.fromstring(volume.XMLDesc(0)).findtext("target/timestamps/mtime") if volume else None
        return float(text) if text else None

    def remove(self, name: str) -> None:
        """Remove it; already gone is fine."""
        volume = self._find(name)
        if volume is not None:
            _unless_missing(lambda: volume.delete(0))

    def _find(self, name: str) -> Any | None:
        for refreshed in (False, True):
            if refreshed:
                self._pool.refresh(0)
            try:
                return self._pool.storageVolLookupByName(name)
            except libvirt.libvirtError as error:
                if not is_missing(error):
                    raise
        return None

    def _download(self, volume: Any, offset: int, length: int) -> bytes:
        stream = self._connection.newStream(0)
        content = bytearray()
        try:
            volume.download(stream, offset, length, 0)
            while chunk := stream.recv(_CHUNK):
                content += chunk
            stream.finish()
        except libvirt.libvirtError:
            stream.abort()
            raise
        return bytes(content)


def shelf_name(installation: str) -> str:
    """Name of an installation's pool, also the beginning of its files' names."""
    return f"{_PREFIX}{installation[:8]}"


def open_shelf(connection: Any, installation: str, directory: str) -> Shelf:
    """The installation's pool, made if it is not there.

    Args:
        connection: a ``virConnect``.
        installation: UUID of our installation.
        directory: below which the pool's directory is made on the host.
    """
    name = shelf_name(installation)
    try:
        pool = connection.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if not is_missing(error):
            raise
        xml = _pool_xml(name, str(PurePosixPath(directory) / name))
        pool = connection.storagePoolCreateXML(xml, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    if not pool.isActive():
        pool.create(libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    return Shelf(connection, pool)


def shelves(connection: Any) -> Iterator[Shelf]:
    """The pools of all installations that the host knows now."""
    for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        if pool.name().startswith(_PREFIX):
            yield Shelf(connection, pool)


def _send(stream: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        sent = stream.send(bytes(view[:_CHUNK]))
        view = view[sent:]


def _unless_missing(verb: Any) -> None:
    try:
        verb()
    except libvirt.libvirtError as error:
        if not is_missing(error):
            raise


def _pool_xml(name: str, path: str) -> str:
    pool = ET.Element("pool", type="dir")
    ET.SubElement(pool, "name").text = name
    target = ET.SubElement(pool, "target")
    ET.SubElement(target, "path").text = path
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = _DIRECTORY_MODE
    return ET.tostring(pool, encoding="unicode")


def _volume_xml(name: str, size: int) -> str:
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    ET.SubElement(volume, "capacity", unit="bytes").text = str(size)
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", type="raw")
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = _FILE_MODE
    return ET.tostring(volume, encoding="unicode")
