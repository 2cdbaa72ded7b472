"""Where built images are kept: outside the tree, each under a key of everything that it was made of."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_KEEP = 14 * 24 * 3600  # seconds since its last use after which an image of another key is removed


def cache_root() -> Path:
    """``$QRMD_CACHE``, else ``qrmd`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("QRMD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qrmd"


def make_key(sources: Path, inputs: Mapping[str, str]) -> str:
    """A short digest of all files below ``sources`` and of ``inputs``."""
    digest = hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode())
    for path in sorted(sources.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"\0{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:20]


def fetch(root: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The directory ``root/key``, built by ``build(empty directory)`` if it is not there.

    Of several processes that need it at once, one builds and the others wait. A build that fails or is killed
    leaves nothing that could be taken for a result.
    """
    root.mkdir(parents=True, exist_ok=True)
    final = root / key
    with _locked(root / ".lock"):
        if not final.exists():
            _remove_old(root)
            work = Path(tempfile.mkdtemp(prefix="building-", dir=root))
            try:
                build(work)
                work.chmod(0o755)
                work.rename(final)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        os.utime(final)
    return final


def _remove_old(root: Path) -> None:
    for path in root.iterdir():
        stale = path.name.startswith("building-")  # we hold the lock: its builder is dead
        if path.is_dir() and (stale or path.stat().st_mtime < time.time() - _KEEP):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
