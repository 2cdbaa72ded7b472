"""Mails that wait for a workflow of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.api import Db, NotFound, Transaction, dump, events, load, now_us
from qrmd_cloud.model import Mail

KIND = "cloud_mail"


def queue(
    db: Transaction, once: str, recipient: str, template: str, variables: Mapping[str, Any], request_id: int | None
) -> None:
    """Queue a mail, once per ``once``. An event makes the observer start its workflow."""
    if not recipient or db.value("SELECT 1 FROM cloud_mails WHERE once = ?", (once,)):
        return
    ident = db.insert(
        "INSERT INTO cloud_mails (state, recipient, template, variables, request_id, at, once)"
        " VALUES ('queued', ?, ?, ?, ?, ?, ?)",
        (recipient, template, dump(dict(variables)), request_id, now_us(), once),
    )
    events.append(db, "cloud_mail.queued", f"{KIND}:{ident}", data={"template": template})


def get(db: Db, ident: int) -> Mail:
    """A mail. Raises NotFound."""
    row = db.row("SELECT * FROM cloud_mails WHERE id = ?", (ident,))
    if row is None:
        raise NotFound(f"there is no cloud mail {ident}", subject=f"{KIND}:{ident}")
    return load(Mail, row)


def queued(db: Db) -> list[int]:
    """Ids of mails that no workflow carries yet."""
    return [row["id"] for row in db.rows("SELECT id FROM cloud_mails WHERE state = 'queued' ORDER BY id LIMIT 100")]
