"""What lies under and over a volume: qcow2 chains in one directory."""

from __future__ import annotations

import os
from collections.abc import Iterator

from qrmd.api import Conflict, InvalidInput, NotFound
from qrmd_dir_storage import content
from qrmd_dir_storage.directory import Directory
from qrmd_dir_storage.header import HEAD, Qcow2Header, parse_qcow2, recognise


def read_header(descriptor: int) -> Qcow2Header:
    """The header of a qcow2 file of ours."""
    head, _tail, size = content.ends(descriptor)
    return parse_qcow2(head, size)


def guest_size(descriptor: int, fmt: str) -> int:
    """Bytes that a guest sees."""
    return os.fstat(descriptor).st_size if fmt == "raw" else read_header(descriptor).size


def allocated(directory: Directory, volume: str) -> int:
    """Bytes that the volume and all that lies under it take."""
    total = 0
    while volume:
        with directory.open(volume) as descriptor:
            total += content.allocated(descriptor)
            tag = directory.tag(volume)
            volume = read_header(descriptor).backing if tag and tag.format == "qcow2" else ""
    return total


def dependents(directory: Directory, volume: str) -> Iterator[str]:
    """Names of files whose backing file is ``volume``.

    A tag's format goes before what the header seems to be: guests write the first bytes of raw disks.
    """
    for name in directory.names():
        tag = directory.tag(name)
        if tag is not None and tag.format != "qcow2":
            continue
        try:
            with directory.open(name) as descriptor:
                backing = _backing(os.pread(descriptor, HEAD, 0), os.fstat(descriptor).st_size)
        except (NotFound, Conflict):
            continue
        if backing in {volume, f"./{volume}", str(directory.path / volume)}:
            yield name


def _backing(head: bytes, size: int) -> str:
    try:
        return parse_qcow2(head, size).backing if recognise(head) == "qcow2" else ""
    except InvalidInput:
        return ""
