"""What mails about a request say: their variables, read from rows. Never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.api import Db, Transaction, to_iso
from qrmd_cloud.model import Request
from qrmd_cloud.money import show
from qrmd_cloud.store import ledger, mails, servers, users


def variables(db: Db, request: Request) -> dict[str, Any]:
    """What every template about a request may name."""
    user = users.get(db, request.user_id)
    alive = servers.of_request(db, request.id, gone=True)
    return {
        "user": user.name if user else "",
        "request": request.id,
        "image": request.image,
        "quantity": request.quantity,
        "cpus": request.cpus,
        "memory_mb": request.memory_mb,
        "disk_mb": request.disk_mb,
        "hostnames": [each.hostname for each in alive],
        "price": show(request.price_micro),
        "stop": to_iso(request.stop_at) if request.stop_at else "",
        "balance": show(ledger.balance(db, request.user_id)),
        "billed": show(ledger.billed(db, request.id)),
        "has_key": bool(request.ssh_key),
    }


def recipient(db: Db, request: Request) -> str:
    """The mail address of a request's user."""
    user = users.get(db, request.user_id)
    return user.email if user else ""


def to_user(db: Transaction, request: Request, template: str, *, once: str, **more: Any) -> None:
    """Queue a mail to the user of a request, once per ``once``."""
    mails.queue(db, once, recipient(db, request), template, variables(db, request) | more, request.id)


def no_resource(db: Transaction, request: Request, fault: Mapping[str, Any]) -> None:
    """Tell the user why there is no room, once per request."""
    to_user(
        db,
        request,
        "no_resource",
        once=f"no_resource:{request.id}",
        explanation=fault.get("message", ""),
        candidates=candidates(fault),
    )


def candidates(fault: Mapping[str, Any]) -> list[str]:
    """One line per candidate that was looked at, of a NoCapacity error's data."""
    found = fault.get("data", {}).get("candidates", [])
    return [f"{each.get('host', '?')}: {each.get('reason', '')}" for each in found if isinstance(each, Mapping)]
