"""NoCloud seeds: a few small files on an ISO 9660 volume named ``cidata``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from qrmd.api import InvalidInput

VOLUME_ID = "cidata"
MAX_BYTES = 1024 * 1024
"""Of all files together; real seeds have some kilobytes."""

_NAME = re.compile(r"[a-z][a-z-]{0,29}")


def build_seed(files: Mapping[str, str]) -> bytes:
    """The volume, readable with Rock Ridge and with Joliet names.

    Args:
        files: content by name: ``meta-data``, ``user-data``, ``network-config``, ``vendor-data``.

    Raises:
        InvalidInput: a name that is none, or too much content.
    """
    encoded = {name: content.encode() for name, content in files.items()}
    if bad := [name for name in encoded if not _NAME.fullmatch(name)]:
        raise InvalidInput(f"{bad[0][:60]!a} is no name for a file in a seed", hint="use meta-data, user-data, …")
    if sum(map(len, encoded.values())) > MAX_BYTES:
        raise InvalidInput(f"the seed's files have more than {MAX_BYTES} bytes together")
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=VOLUME_ID)
    for number, (name, content) in enumerate(sorted(encoded.items())):
        iso.add_fp(BytesIO(content), len(content), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
    volume = BytesIO()
    iso.write_fp(volume)
    iso.close()
    return volume.getvalue()


def read_seed(volume: bytes) -> dict[str, str] | None:
    """The files on a seed; None when it is not a whole seed (the dates in it make bytes differ, not files)."""
    iso = pycdlib.PyCdlib()
    try:
        iso.open_fp(BytesIO(volume))
    except (PyCdlibException, ValueError):
        return None
    try:
        return dict(_files(iso))
    except (PyCdlibException, ValueError):
        return None
    finally:
        iso.close()


def _files(iso: pycdlib.PyCdlib) -> list[tuple[str, str]]:
    found = []
    for child in iso.list_children(joliet_path="/"):
        if child.is_file():
            name = child.file_identifier().decode("utf-16-be").removesuffix(";1")
            content = BytesIO()
            iso.get_file_from_iso_fp(content, joliet_path=f"/{name}")
            found.append((name, content.getvalue().decode()))
    return found
