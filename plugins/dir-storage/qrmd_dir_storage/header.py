"""What the first bytes of an image file say. Pure; image files are hostile input."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from qrmd.api import InvalidInput, names

MIB = 1024 * 1024
HEAD = 64 * 1024
"""Bytes from the beginning of a file that the functions here want to see (less when it is shorter)."""
TAIL = 512
"""Bytes from its end."""

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_DATA_FILE = 0x44415441

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _CORRUPT | _EXTERNAL_DATA | _COMPRESSION | _EXTENDED_L2

_MAGIC = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (257, b"ustar", "tar"),
)
_PACKED = frozenset({"gzip", "xz", "bzip2", "zstd", "zip", "tar"})


@dataclass(frozen=True, slots=True)
class Qcow2Header:
    """A qcow2 header that holds together.

    Attributes:
        version: 2 or 3.
        size: bytes that the guest sees.
        backing: name of the backing file as written there, empty: none.
        data_file: guest data lies in another file.
        encrypted: by qcow2's own means.
        dirty: not closed cleanly.
        corrupt: marked so by QEMU.
    """

    version: int
    size: int
    backing: str = ""
    data_file: bool = False
    encrypted: bool = False
    dirty: bool = False
    corrupt: bool = False


def recognise(head: bytes, tail: bytes = b"") -> str:
    """The format by magic numbers: ``qcow2``, ``vmdk``, ``gzip``, …; ``raw`` when none fits."""
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    return "vhd" if tail[-TAIL:].startswith(b"conectix") else "raw"


def check_image(head: bytes, tail: bytes, file_size: int, declared: str, limit_mb: int) -> int:
    """Look at an image that somebody offers.

    Args:
        head: its first ``HEAD`` bytes.
        tail: its last ``TAIL`` bytes.
        file_size: its length in bytes.
        declared: ``raw`` or ``qcow2``.
        limit_mb: the largest disk accepted, in MiB.

    Returns:
        The size that a guest will see, in bytes.

    Raises:
        InvalidInput: it is something else, depends on another file, is cut off, or absurdly large.
    """
    if declared not in {"raw", "qcow2"}:
        raise InvalidInput(f"image format {names.shown(declared)} is not known here", hint="use raw or qcow2")
    found = recognise(head, tail)
    if found != declared:
        hint = "unpack it first" if found in _PACKED else f"qemu-img convert -f {found} -O {declared}"
        raise InvalidInput(f"the image is declared {declared} but looks like {found}", hint=hint)
    size = _check_qcow2(head, file_size) if declared == "qcow2" else _check_raw(file_size)
    if size > limit_mb * MIB:
        raise InvalidInput(f"the image has {size // MIB} MiB, more than the {limit_mb} MiB allowed")
    return size


def parse_qcow2(head: bytes, file_size: int) -> Qcow2Header:
    """Read a qcow2 header.

    Raises:
        InvalidInput: it is none, or it contradicts itself or the file's length.
    """
    if len(head) < _V2.size or head[:4] != b"QFI\xfb":
        raise InvalidInput("the file is not qcow2, or its header is cut off")
    (_magic, version, backing_at, backing_len, cluster_bits, size, crypt, l1_size, l1_at, refcount_at,
     refcount_clusters, _snapshots, _snapshots_at) = _V2.unpack_from(head)  # fmt: skip
    if version not in {2, 3}:
        raise InvalidInput(f"qcow version {version} is not supported", hint="convert it with qemu-img")
    if not 9 <= cluster_bits <= 21:
        raise InvalidInput(f"the qcow2 header claims clusters of 2^{cluster_bits} bytes")
    features, length = _features(head, version)
    if size == 0 or size > 1 << 62:
        raise InvalidInput(f"the qcow2 header claims a disk of {size} bytes")
    entry = 16 if features & _EXTENDED_L2 else 8
    covered = l1_size * (1 << cluster_bits) * ((1 << cluster_bits) // entry)
    _check_tables(file_size, covered >= size, (l1_at, l1_size * 8), (refcount_at, refcount_clusters << cluster_bits))
    return Qcow2Header(
        version=version,
        size=size,
        backing=_backing(head, backing_at, backing_len),
        data_file=bool(features & _EXTERNAL_DATA) or _DATA_FILE in _extensions(head, length, backing_at),
        encrypted=crypt != 0,
        dirty=bool(features & _DIRTY),
        corrupt=bool(features & _CORRUPT),
    )


def _check_raw(file_size: int) -> int:
    if file_size == 0 or file_size % 512:
        raise InvalidInput(
            f"a raw disk of {file_size} bytes is not a whole number of sectors", hint="is the file cut off?"
        )
    return file_size


def _check_qcow2(head: bytes, file_size: int) -> int:
    header = parse_qcow2(head, file_size)
    if header.backing:
        raise InvalidInput(
            f"the image names a backing file, {names.shown(header.backing)}",
            hint="flatten it: qemu-img convert -f qcow2 -O qcow2",
        )
    if header.data_file:
        raise InvalidInput("the image keeps its data in another file", hint="qemu-img convert -f qcow2 -O qcow2")
    if header.encrypted:
        raise InvalidInput("the image is encrypted by qcow2")
    if header.dirty or header.corrupt:
        raise InvalidInput("the image was not closed cleanly or is damaged", hint="qemu-img check -r all")
    return header.size


def _features(head: bytes, version: int) -> tuple[int, int]:
    if version == 2:
        return 0, _V2.size
    if len(head) < _V2.size + _V3.size:
        raise InvalidInput("the qcow2 header is cut off")
    incompatible, _compatible, _autoclear, refcount_order, length = _V3.unpack_from(head, _V2.size)
    if incompatible & ~_KNOWN:
        raise InvalidInput(f"the qcow2 header wants unknown features {incompatible & ~_KNOWN:#x}")
    if refcount_order > 6 or not _V2.size + _V3.size <= length <= len(head):
        raise InvalidInput("the qcow2 header contradicts itself")
    return incompatible, length


def _check_tables(file_size: int, covered: bool, *tables: tuple[int, int]) -> None:
    if not covered:
        raise InvalidInput("the qcow2 header claims a disk larger than its tables")
    for offset, length in tables:
        if offset == 0 or length == 0 or offset + length > file_size:
            raise InvalidInput("the qcow2 file is shorter than its header says", hint="is the file cut off?")


def _backing(head: bytes, offset: int, length: int) -> str:
    if offset == 0:
        return ""
    if not 0 < length <= 1023 or offset + length > len(head):
        raise InvalidInput("the qcow2 header names a backing file outside of itself")
    return head[offset : offset + length].decode("utf-8", "backslashreplace")


def _extensions(head: bytes, offset: int, backing_at: int) -> set[int]:
    end = min(backing_at or len(head), len(head))
    kinds: set[int] = set()
    while offset + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(head, offset)
        if kind == 0:
            break
        kinds.add(kind)
        offset += _EXTENSION.size + (length + 7) // 8 * 8
    return kinds
