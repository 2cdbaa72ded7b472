"""Files that browsers load: our own style and script, and htmx where it is installed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

OWN = Path(__file__).parent / "static"
_ROOT = Path(__file__).parent.parent.parent
INSTALLED = (
    _ROOT / "build" / "assets",
    _ROOT / "node_modules" / "htmx.org" / "dist",
    Path("/usr/share/qrmd/assets"),
)
"""Where ``make assets`` or a package put what npm brought."""
VENDORED = ("htmx.min.js",)
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
        files = [path for path in sorted(OWN.iterdir()) if path.suffix in _TYPES]
        for name in VENDORED:
            files += [path for path in (place / name for place in INSTALLED) if path.is_file()][:1]
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
