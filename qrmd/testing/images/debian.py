"""Debian 12 with cloud-init, made as an administrator makes it: by ``tools/debian-image``, and kept in the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import qrmd
from qrmd.errors import PreconditionFailed
from qrmd.process import run
from qrmd.testing.images import cache

TOOL = Path(qrmd.__file__).parents[1] / "tools" / "debian-image"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
SECONDS = 1800.0
"""In which a slow mirror and a slow machine are done; it takes one to three minutes."""


def build() -> Path:
    """The image as qcow2, from the cache or built now.

    Raises:
        PreconditionFailed: this is no source tree, which is where the tool is.
        ProcessFailed: the tool failed; its last line says why.
    """
    if not TOOL.exists():
        raise PreconditionFailed(f"{TOOL} is missing", hint="run it in a source tree")
    key = hashlib.sha256(TOOL.read_bytes()).hexdigest()[:20]

    def make(target: Path) -> None:
        run([str(TOOL), str(target / "debian.qcow2")], timeout=SECONDS, env=ENVIRONMENT)

    # a directory of its own: whoever wants another image does not wait for this one
    return cache.fetch(cache.cache_root() / "debian", key, make) / "debian.qcow2"
