"""Appending events: audit log, feed and outbox at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.clock import now_us
from qrmd.model import Severity
from qrmd.store import feed
from qrmd.store.connection import Transaction
from qrmd.store.rows import dump


def append(
    db: Transaction,
    kind: str,
    subject: str,
    *,
    actor: str = "system",
    reason: str = "",
    severity: Severity = Severity.INFO,
    workflow_id: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> int:
    """Append one event and return its id.

    Args:
        kind: past tense, ``appliance.started``.
        subject: ``appliance:12``.
        data: JSON; never a secret.
    """
    told = dump(data) if data else "{}"
    return feed.append(db, (now_us(), kind, severity.value, actor, reason, subject, workflow_id, told))
