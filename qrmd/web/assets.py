"""Files that browsers load: our own style and script, and what npm brought, where it was built in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

OWN = Path(__file__).parent / "static"
BROUGHT = Path(__file__).parent / "assets"
"""``make assets`` fills it by the lock file; wheels and installations take it along. Pages work without it."""
_TYPES = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8", ".svg": b"image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. ``version`` changes with its content, so that browsers may keep it for good."""

    content: bytes
    content_type: bytes
    version: str


class Assets:
    """All of them, read once."""

    def __init__(self) -> None:
        places = [place for place in (BROUGHT, OWN) if place.is_dir()]
        files = [path for place in places for path in sorted(place.iterdir()) if path.suffix in _TYPES]
        self._assets = {path.name: _load(path) for path in files}

    def get(self, name: str) -> Asset | None:
        """The file of that name."""
        return self._assets.get(name)

    def url(self, name: str) -> str:
        """Where a page finds it; empty: it is not there, and pages work without it."""
        asset = self._assets.get(name)
        return f"/static/{name}?v={asset.version}" if asset else ""


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])
