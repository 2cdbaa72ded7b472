"""What a lab remembers of itself: one JSON file in its directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from qrmd.testing.lab.access import RUN_DIR, LabAccess, check_name, make_access, state_dir
from qrmd.testing.lab.processes import Tracked


@dataclass(frozen=True)
class LabState:
    """Written when a lab is up, so that a lab without it is a broken one."""

    name: str
    boot_id: str
    domain_type: str
    micro_image: str
    processes: dict[str, Tracked]  # by role

    @property
    def access(self) -> LabAccess:
        return make_access(self.name, self.domain_type, Path(self.micro_image))


def save(state: LabState) -> None:
    """Write it whole or not at all."""
    path = _file(state.name)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    draft.replace(path)


def load(name: str) -> LabState | None:
    """What the lab of this name wrote; None if it did not get so far, or wrote what can't be read."""
    try:
        data = json.loads(_file(name).read_text(encoding="utf-8"))
        data["processes"] = {role: Tracked(**value) for role, value in data["processes"].items()}
        return LabState(**data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def list_names() -> list[str]:
    """Names of all labs that have a directory, whole or not."""
    if not RUN_DIR.is_dir():
        return []
    return sorted(path.name for path in RUN_DIR.iterdir() if path.is_dir())


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one at a time bring this lab up or down."""
    RUN_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = RUN_DIR / f"{check_name(name)}.lock"
    while True:
        with path.open("w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file.fileno(), path):
                continue  # the one that held it before us has removed it
            try:
                yield
            finally:
                if not state_dir(name).exists():
                    path.unlink()
            return


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _file(name: str) -> Path:
    return state_dir(name) / "state.json"
