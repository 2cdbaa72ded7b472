"""``access.json``: how any client gets in while a demo stays up."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Handout:
    """What the file holds. The cloud user's fields are empty where nothing was acted."""

    rpc_url: str
    admin_url: str
    portal_url: str
    boot_url: str
    admin_user: str
    admin_password: str
    cloud_user: str
    cloud_password: str
    ca_file: str
    pid: int
    namespace: str


def write(path: Path, handout: Handout) -> None:
    """Whole or not at all, private from its first byte."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(handout), file, indent=1)
        file.write("\n")
    draft.replace(path)
