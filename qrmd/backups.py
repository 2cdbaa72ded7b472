"""Backups of a running daemon."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qrmd import events
from qrmd.errors import InvalidInput
from qrmd.names import shown
from qrmd.store import backup
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.threads import Lanes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Backups:
    """Makes backups into one directory.

    Args:
        directory: made with mode 0700 when it is missing.
    """

    def __init__(self, store: Store, lanes: Lanes, directory: Path) -> None:
        self._store = store
        self._lanes = lanes
        self._directory = directory

    async def make(self, actor: str, name: str = "", reason: str = "", *, dry_run: bool = False) -> dict[str, Any]:
        """Make and verify a backup; an event says so.

        Raises:
            InvalidInput: the name is a path or otherwise not plain.
            Conflict: there is one of that name.
        """
        name = name or datetime.now(UTC).strftime("qrmd-%Y%m%dT%H%M%S.%fZ.sqlite")
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{shown(name)} is not a plain file name", hint="letters, digits, '.', '_' and '-'")
        target = self._directory / name
        if dry_run:
            return {"dry_run": True, "path": str(target)}
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        verdict = await self._lanes.call("backup", backup.make, self._store.path, target)
        await self._store.write(_note, actor, reason, verdict)
        return verdict.as_dict()


def _note(db: Transaction, actor: str, reason: str, verdict: backup.Verdict) -> None:
    data = {"path": verdict.path, "sha256": verdict.sha256, "size": verdict.size}
    events.append(db, "qrm.backed_up", "qrm:backup", actor=actor, reason=reason, data=data)
