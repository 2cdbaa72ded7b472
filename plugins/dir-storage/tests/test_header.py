"""What headers say, and what they may not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrmd.errors import InvalidInput
from qrmd.process import run
from qrmd.testing.needs import require
from qrmd_dir_storage.header import HEAD, MIB, TAIL, check_image, parse_qcow2, recognise

LIMIT_MB = 1 << 20


def make(directory: Path, *arguments: str) -> Path:
    require("qemu-img")
    path = directory / "image"
    run(["qemu-img", "create", "-q", *arguments[:-1], str(path), arguments[-1]], timeout=120, cwd=directory)
    return path


def check(data: bytes, declared: str = "qcow2", size: int | None = None) -> int:
    return check_image(data[:HEAD], data[-TAIL:], len(data) if size is None else size, declared, LIMIT_MB)


@pytest.mark.parametrize("options", [(), ("-o", "compat=0.10"), ("-o", "extended_l2=on"), ("-o", "cluster_size=2M")])
def test_what_qemu_img_makes_is_accepted(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert check(make(tmp_path, "-f", "qcow2", *options, "64M").read_bytes()) == 64 * MIB


@pytest.mark.parametrize("kind", ["vmdk", "vpc", "vhdx", "vdi", "qed", "parallels", "luks"])
def test_other_formats_are_recognised(tmp_path: Path, kind: str) -> None:
    secret = ("--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10") if kind == "luks" else ()
    data = make(tmp_path, "-f", kind, *secret, "4M").read_bytes()
    assert recognise(data[:HEAD], data[-TAIL:]) == {"vpc": "vhd"}.get(kind, kind)
    for declared in ("raw", "qcow2"):
        with pytest.raises(InvalidInput, match="looks like"):
            check(data, declared)


def test_a_fixed_vhd_is_recognised_by_its_end(tmp_path: Path) -> None:
    data = make(tmp_path, "-f", "vpc", "-o", "subformat=fixed", "1M").read_bytes()
    with pytest.raises(InvalidInput, match="vhd"):
        check(data, "raw")


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh9", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"])
def test_a_packed_image_says_how_to_go_on(head: bytes) -> None:
    with pytest.raises(InvalidInput, match="unpack it first"):
        check(head.ljust(4096, b"\0"), "raw")


def test_a_backing_file_is_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, "-f", "raw", "4M").rename(tmp_path / "base")
    data = make(tmp_path, "-f", "qcow2", "-F", "raw", "-b", "base", "4M").read_bytes()
    assert parse_qcow2(data[:HEAD], len(data)).backing == "base"
    with pytest.raises(InvalidInput, match="backing file, 'base'"):
        check(data)


def test_a_data_file_is_refused(tmp_path: Path) -> None:
    data = make(tmp_path, "-f", "qcow2", "-o", "data_file=other", "4M").read_bytes()
    with pytest.raises(InvalidInput, match="another file"):
        check(data)
    cleared = bytearray(data)
    cleared[72:80] = bytes(8)  # the feature bit hidden, the name still there
    with pytest.raises(InvalidInput, match="another file"):
        check(bytes(cleared))


@pytest.mark.parametrize(
    ("offset", "layout", "value", "says"),
    [
        (4, ">I", 9, "version 9"),
        (20, ">I", 40, "clusters"),
        (24, ">Q", 0, "0 bytes"),
        (24, ">Q", 1 << 63, "bytes"),
        (24, ">Q", 1 << 40, "larger than its tables"),
        (32, ">I", 1, "encrypted"),
        (40, ">Q", 1 << 50, "shorter than its header"),
        (48, ">Q", 1 << 50, "shorter than its header"),
        (72, ">Q", 1, "cleanly"),
        (72, ">Q", 2, "damaged"),
        (72, ">Q", 1 << 9, "unknown features"),
        (8, ">Q", 1 << 40, "outside of itself"),
        (100, ">I", 1 << 20, "contradicts"),
    ],
)  # fmt: skip
def test_headers_that_lie_are_refused(tmp_path: Path, offset: int, layout: str, value: int, says: str) -> None:
    data = bytearray(make(tmp_path, "-f", "qcow2", "64M").read_bytes())
    if offset == 8:
        struct.pack_into(">I", data, 16, 4)
    struct.pack_into(layout, data, offset, value)
    with pytest.raises(InvalidInput, match=says):
        check(bytes(data))


@pytest.mark.parametrize("length", [0, 4, 71, 72, 103, 104, 65536, 196607])
def test_cut_off_files_are_refused(tmp_path: Path, length: int) -> None:
    data = make(tmp_path, "-f", "qcow2", "64M").read_bytes()
    with pytest.raises(InvalidInput):
        check(data[:length])


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    data = make(tmp_path, "-f", "qcow2", "-o", "cluster_size=2M", "2P").read_bytes()
    with pytest.raises(InvalidInput, match="more than"):
        check(data)
    with pytest.raises(InvalidInput, match="more than"):
        check(bytes(4096), "raw", size=(LIMIT_MB + 1) * MIB)


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_a_raw_disk_has_whole_sectors(size: int) -> None:
    with pytest.raises(InvalidInput, match="sectors"):
        check(bytes(size), "raw")


@pytest.mark.parametrize("declared", ["", "vmdk", "QCOW2", "raw\n", "../raw"])
def test_an_unknown_declaration_is_refused(declared: str) -> None:
    with pytest.raises(InvalidInput, match="not known"):
        check(bytes(512), declared)


@settings(max_examples=300)
@given(st.binary(max_size=400), st.integers(0, 1 << 64))
def test_garbage_is_refused_and_nothing_worse(garbage: bytes, size: int) -> None:
    for data in (garbage, b"QFI\xfb\0\0\0\3" + garbage, b"QFI\xfb\0\0\0\2" + garbage):
        try:
            parse_qcow2(data, size)
        except InvalidInput:
            continue
