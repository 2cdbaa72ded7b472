"""Verbs about one's own account."""

from __future__ import annotations

from typing import Any

from qrmd.api import CLOUD_USE, SECOND, Call, Db, ListOptions, Ref, now_us, to_iso, verb
from qrmd_cloud import billing
from qrmd_cloud.access import scope, subject_user
from qrmd_cloud.limits import Amounts, allowed, table
from qrmd_cloud.model import Line, Request
from qrmd_cloud.money import HOUR_SECONDS, lasting, show
from qrmd_cloud.store import ledger, meter, requests, rows, servers

_ALL = ListOptions()


class AccountVerbs:
    """``cloud.account.*``."""

    @verb("cloud.account.get", roles=CLOUD_USE)
    async def get(self, call: Call, user: Ref = "") -> dict[str, Any]:
        """Balance, what is held, what runs unbilled, price per hour now, how long it lasts, limits and their use.

        Administrators name the ``user``.
        """
        return await call.read(_get, scope(call), user)

    @verb("cloud.account.transactions", roles=CLOUD_USE)
    async def transactions(self, call: Call, options: ListOptions = _ALL, user: Ref = "") -> list[dict[str, Any]]:
        """The ledger, line by line with the balance after it. Administrators name the ``user``."""
        return await call.read(_transactions, scope(call), user, options)


def _get(db: Db, own: int | None, named: Ref) -> dict[str, Any]:
    user = subject_user(db, own, named)
    running, unbilled = 0, 0
    for ident in requests.open_of(db, user.id):
        request = requests.get(db, ident)
        count, amount = _running(db, request)
        running += count * request.price_micro
        unbilled += amount
    balance = ledger.balance(db, user.id)
    return {
        "user": user.name,
        "email": user.email,
        "balance": show(balance),
        "held": show(ledger.held(db, user.id)),
        "available": show(ledger.available(db, user.id)),
        "unbilled": show(unbilled),
        "price_per_hour": show(running),
        "hours_left": round(lasting(running, balance - unbilled) / HOUR_SECONDS, 1) if running else None,
        "limits": table(allowed(user), requests.reserved(db, user), Amounts()),
    }


def _running(db: Db, request: Request) -> tuple[int, int]:
    """How many servers of a request are being paid for, and what no line covers yet."""
    count, unbilled, now = 0, 0, now_us()
    for server in servers.of_request(db, request.id):
        paid = billing.intervals(meter.marks(db, server.id))
        count += bool(paid) and paid[-1].end is None
        if request.active_at:
            due = billing.due(request.price_micro, paid, billing.settled(ledger.of_server(db, server.id)), now)
            unbilled += sum(each.amount_micro for each in due if each.kind == "charge")
    return count, unbilled


def _transactions(db: Db, own: int | None, named: Ref, options: ListOptions) -> list[dict[str, Any]]:
    user = subject_user(db, own, named)
    found = rows.page(db, Line, "cloud_ledger", options, ledger.FILTERS, {"user_id": user.id})
    return rows.listed(found, view, options)


def view(line: Line) -> dict[str, Any]:
    """A line of the ledger as the interface shows it."""
    return {
        "id": line.id,
        "at": to_iso(line.at),
        "kind": line.kind.value,
        "amount": show(line.amount_micro),
        "balance": show(line.balance_micro),
        "request": line.request_id or 0,
        "server": line.server_id or 0,
        "from": to_iso(line.from_at) if line.from_at else "",
        "to": to_iso(line.to_at) if line.to_at else "",
        "seconds": (line.to_at - line.begin_at) // SECOND - (line.from_at - line.begin_at) // SECOND,
        "price_per_hour": show(line.price_micro),
        "waived": show(line.waived_micro),
        "actor": line.actor,
        "reason": line.reason,
    }
