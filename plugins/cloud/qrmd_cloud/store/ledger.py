"""The ledger of CCUs and what is held of them. A user's balance is the sum of the lines; each line carries it."""

from __future__ import annotations

from dataclasses import dataclass

from qrmd.api import Db, InvalidInput, NoCapacity, Transaction, load, now_us
from qrmd_cloud.billing import Due
from qrmd_cloud.model import Line, LineKind, Request
from qrmd_cloud.money import MOST, show

FILTERS = ("kind", "server_id", "request_id")


def balance(db: Db, user_id: int) -> int:
    """What a user has, held or not."""
    found: int | None = db.value(
        "SELECT balance_micro FROM cloud_ledger WHERE user_id = ? ORDER BY id DESC LIMIT 1", (user_id,)
    )
    return found or 0


def held(db: Db, user_id: int) -> int:
    """What the user's approved requests hold."""
    found: int = db.value("SELECT COALESCE(SUM(amount_micro), 0) FROM cloud_holds WHERE user_id = ?", (user_id,))
    return found


def available(db: Db, user_id: int) -> int:
    """Balance less holds; below zero only when an administrator took away what was held."""
    return balance(db, user_id) - held(db, user_id)


def hold_of(db: Db, request_id: int) -> int:
    """What a request holds."""
    found: int | None = db.value("SELECT amount_micro FROM cloud_holds WHERE request_id = ?", (request_id,))
    return found or 0


def hold(db: Transaction, request: Request, amount_micro: int) -> None:
    """Make a request hold so much, refusing what there is not.

    Raises:
        NoCapacity: ``data["missing"]["ccus"]`` are missing.
    """
    free = available(db, request.user_id) + hold_of(db, request.id)
    if amount_micro > free:
        raise NoCapacity(
            f"{show(amount_micro)} CCU are needed, {show(max(0, free))} are available",
            subject=f"cloud_user:{request.user_id}",
            hint=f"{show(amount_micro - free)} CCU are missing; order less or shorter, or have CCUs added",
            needed={"ccus": show(amount_micro)},
            available={"ccus": show(max(0, free))},
            missing={"ccus": show(amount_micro - free)},
        )
    set_hold(db, request, amount_micro)


def set_hold(db: Transaction, request: Request, amount_micro: int) -> None:
    """Write a hold that was computed within what is available."""
    db.execute(
        "INSERT INTO cloud_holds (request_id, user_id, amount_micro, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (request_id) DO UPDATE SET amount_micro = excluded.amount_micro, at = excluded.at",
        (request.id, request.user_id, amount_micro, now_us()),
    )


def give_back(db: Transaction, request_id: int) -> None:
    """A request holds nothing any more."""
    db.execute("DELETE FROM cloud_holds WHERE request_id = ?", (request_id,))


def spendable(db: Db, request: Request) -> int:
    """What a request may spend now: its own hold and what nobody holds, never another request's hold."""
    had = balance(db, request.user_id)
    others = held(db, request.user_id) - hold_of(db, request.id)
    return max(0, min(had, max(had - others, min(had, hold_of(db, request.id)))))


def give(db: Transaction, user_id: int, amount_micro: int, actor: str, reason: str) -> int:
    """Change the balance by a signed amount; returns the line's id (0: nothing to change).

    Raises:
        InvalidInput: the balance would be below zero or beyond what can be counted.
    """
    if not amount_micro:
        return 0
    after = balance(db, user_id) + amount_micro
    if not 0 <= after <= MOST:
        raise InvalidInput(f"the balance would be {show(after)} CCU", subject=f"cloud_user:{user_id}")
    kind = LineKind.CREDIT if amount_micro > 0 else LineKind.DEBIT
    return db.insert(
        "INSERT INTO cloud_ledger (user_id, at, kind, amount_micro, balance_micro, actor, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (user_id, now_us(), kind.value, amount_micro, after, actor, reason),
    )


@dataclass(frozen=True, slots=True)
class Bill:
    """For which server of which request a line is written."""

    request: Request
    server_id: int


def append(db: Transaction, bill: Bill, due: Due, waived_micro: int, reason: str) -> int:
    """Append a charge or refund, less what is waived; returns what the balance lost (negative: gained)."""
    lost = due.amount_micro - waived_micro
    lost = lost if due.kind is LineKind.CHARGE else -lost
    user = bill.request.user_id
    values = (user, now_us(), due.kind.value, -lost, balance(db, user) - lost, bill.server_id, bill.request.id)
    times = (due.begin_at, due.from_at, due.to_at, bill.request.price_micro, waived_micro, "system", reason)
    db.insert(
        "INSERT INTO cloud_ledger (user_id, at, kind, amount_micro, balance_micro, server_id, request_id, begin_at,"
        " from_at, to_at, price_micro, waived_micro, actor, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, *times),
    )
    return lost


def of_server(db: Db, server_id: int) -> list[Line]:
    """A server's charges and refunds in order."""
    rows = db.rows("SELECT * FROM cloud_ledger WHERE server_id = ? ORDER BY id", (server_id,))
    return [load(Line, row) for row in rows]


def billed(db: Db, request_id: int) -> int:
    """What a request has cost so far."""
    found: int = db.value(
        "SELECT -COALESCE(SUM(amount_micro), 0) FROM cloud_ledger WHERE request_id = ?", (request_id,)
    )
    return found
