"""Debian 12 with cloud-init, made as an administrator makes it: by ``tools/debian-image``, and kept in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import qrmd
from qrmd.errors import PreconditionFailed
from qrmd.process import run
from qrmd.testing.images import cache

TOOL = Path(qrmd.__file__).parents[1] / "tools" / "debian-image"
SECONDS = 1800.0
"""In which a slow mirror and a slow machine are done; it takes one to three minutes."""


def build(packages: Sequence[str] = (), size: str = "2G") -> Path:
    """The image as qcow2, from the cache or built now.

    Args:
        packages: Debian packages beside the usual ones.
        size: virtual, as ``truncate`` writes it.

    Raises:
        PreconditionFailed: this is no source tree, which is where the tool is.
        ProcessFailed: the tool failed; its last line says why.
    """
    if not TOOL.exists():
        raise PreconditionFailed(f"{TOOL} is missing", hint="run it in a source tree")
    inputs = json.dumps([TOOL.read_text(encoding="utf-8"), sorted(packages), size])
    key = hashlib.sha256(inputs.encode()).hexdigest()[:20]

    def make(target: Path) -> None:
        run([str(TOOL), str(target / "debian.qcow2"), *packages], timeout=SECONDS, env=_environment(size))

    # a directory of its own: whoever wants a small image does not wait for this one
    return cache.fetch(cache.cache_root() / "debian", key, make) / "debian.qcow2"


def _environment(size: str) -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SIZE": size}
