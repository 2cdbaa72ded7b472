"""What the server can do for us, asked once and kept for some minutes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from qrmd.cli import profile as profiles
from qrmd.cli.profile import Profile

FRESH_SECONDS = 600.0
Description = dict[str, dict[str, Any]]


def kept(profile: Profile) -> Description | None:
    """The verbs by name as last heard; None when that was too long ago."""
    path = _path(profile)
    try:
        if time.time() - path.stat().st_mtime > FRESH_SECONDS:
            return None
        return _by_name(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ask(profile: Profile) -> Description:
    """The verbs by name, from the server. Raises CallFailed."""
    from qrmd.cli.connection import Connection  # noqa: PLC0415 - not needed for what is kept

    told = Connection(profile).call("system.describe")
    with contextlib.suppress(OSError):
        profiles.write_private(_path(profile), json.dumps(told))
    return _by_name(told)


def _by_name(told: list[dict[str, Any]]) -> Description:
    return {each["name"]: each for each in told if not each["name"].startswith("system.")}


def _path(profile: Profile) -> Path:
    """One file per server and caller: a role sees its own verbs only."""
    pinned = Path(profile.ca_file).read_text() if profile.ca_file and Path(profile.ca_file).is_file() else ""
    key = hashlib.sha256(json.dumps([profile.url, profile.token, pinned]).encode()).hexdigest()[:32]
    return profiles.cache_directory() / f"verbs-{key}.json"
