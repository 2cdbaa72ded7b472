"""One look at the bill of a request, in one transaction: refunds, charges, the end of the CCUs, hold, warnings."""

from __future__ import annotations

from qrmd.api import SECOND, Severity, Transaction, events
from qrmd_cloud import billing
from qrmd_cloud.billing import Due, Interval
from qrmd_cloud.lease import need
from qrmd_cloud.model import LineKind, MarkKind, Request, Server
from qrmd_cloud.money import HOUR_SECONDS, lasting
from qrmd_cloud.rules import Rules
from qrmd_cloud.states import BILLED, RequestState, ServerState
from qrmd_cloud.store import ledger, letters, meter, requests, servers


def settle(db: Transaction, request_id: int, now: int, rules: Rules, *, whole: bool = False) -> int:
    """Write what the ledger lacks for a request.

    Args:
        whole: also lines of running servers that are younger than ``line_seconds``.

    Returns:
        Micro-CCU charged less refunded.
    """
    request = requests.get(db, request_id)
    if request.state not in BILLED:
        return 0
    meters = [_Meter(db, server) for server in servers.of_request(db, request_id, gone=True)]
    running = sum(each.runs for each in meters)
    whole = whole or _is_short(db, request, meters, now)
    lost = 0
    for each in meters:
        for due in each.due(request, now):
            if whole or each.is_ripe(due, now, rules):
                lost += _pay(db, request, each.server, due)
    if running and request.price_micro and not ledger.spendable(db, request):
        _exhaust(db, request, meters, now, rules)
        running = 0
    _renew(db, request, running, now, rules)
    return lost


class _Meter:
    """A server with what its marks and lines say."""

    def __init__(self, db: Transaction, server: Server) -> None:
        self.server = server
        self.paid: tuple[Interval, ...] = billing.intervals(meter.marks(db, server.id))
        self.far = billing.settled(ledger.of_server(db, server.id))

    @property
    def runs(self) -> bool:
        return bool(self.paid) and self.paid[-1].end is None

    def due(self, request: Request, now: int) -> list[Due]:
        return billing.due(request.price_micro, self.paid, self.far, now)

    def is_ripe(self, due: Due, now: int, rules: Rules) -> bool:
        """Of an ended time, or old enough to be written."""
        ended = due.kind is LineKind.REFUND or not self.runs or due.begin_at != self.paid[-1].begin
        return ended or now - due.from_at >= rules.line_seconds * SECOND


def _is_short(db: Transaction, request: Request, meters: list[_Meter], now: int) -> bool:
    """Whether what is not written yet already takes all that there is."""
    unwritten = sum(
        due.amount_micro
        for each in meters
        for due in billing.due(request.price_micro, each.paid, each.far, now)
        if due.kind is LineKind.CHARGE
    )
    return unwritten >= ledger.spendable(db, request)


def _pay(db: Transaction, request: Request, server: Server, due: Due) -> int:
    """Append a line; a charge is cut to what there is. The hold shrinks by what it paid."""
    waived = due.waived_micro
    if due.kind is LineKind.CHARGE:
        waived = max(0, due.amount_micro - ledger.spendable(db, request))
    lost = ledger.append(db, ledger.Bill(request, server.id), due, waived, server.hostname)
    if lost > 0:
        held = ledger.hold_of(db, request.id)
        ledger.set_hold(db, request, held - min(held, lost))
    return lost


def _exhaust(db: Transaction, request: Request, meters: list[_Meter], now: int, rules: Rules) -> None:
    """No CCUs left: the meters stop at this instant; the schedule stops the servers."""
    for each in meters:
        if each.runs:
            meter.mark(db, each.server.id, now, MarkKind.OFF, "no CCUs left")
    requests.put(db, request.id, exhausted_at=now)
    events.append(db, "cloud_request.exhausted", f"{requests.KIND}:{request.id}", severity=Severity.WARNING)
    letters.to_user(
        db,
        request,
        "exhausted",
        once=f"exhausted:{request.id}:{now}",
        grace_hours=rules.grace_seconds // HOUR_SECONDS,
    )


def _renew(db: Transaction, request: Request, running: int, now: int, rules: Rules) -> None:
    """Hold what the rest of the lease needs, as far as there is; warn when it lasts no longer than hours."""
    alive = len(servers.of_request(db, request.id))
    if request.state is RequestState.DONE or not alive:
        ledger.give_back(db, request.id)
        return
    spendable = ledger.spendable(db, request)
    wanted = need(request, alive, now, rules)
    held = min(wanted, spendable)
    ledger.set_hold(db, request, held)
    _warn(db, request, wanted, spendable, running, now, rules)
    if request.exhausted_at and spendable > 0 and held >= min(wanted, alive * request.price_micro):
        _go_on(db, request, now)
    soon = min(rules.line_seconds, lasting(request.price_micro * running, held) if running else rules.line_seconds)
    requests.put(db, request.id, due_at=now + max(1, soon) * SECOND)


def _go_on(db: Transaction, request: Request, now: int) -> None:
    """CCUs again, for an hour at least: the grace ends, and what was not stopped yet is paid for again."""
    for server in servers.of_request(db, request.id):
        if server.state is ServerState.ACTIVE:
            meter.mark(db, server.id, now, MarkKind.ON, "CCUs again")
    requests.put(db, request.id, exhausted_at=0)
    events.append(db, "cloud_request.funded", f"{requests.KIND}:{request.id}")


def _warn(db: Transaction, request: Request, wanted: int, spendable: int, running: int, now: int, rules: Rules) -> None:
    hours = running * request.price_micro * rules.low_balance_hours
    low = running > 0 and spendable < min(wanted, hours)
    if low and not request.warned_at:
        seconds = lasting(running * request.price_micro, spendable)
        letters.to_user(
            db,
            request,
            "low_balance",
            once=f"low:{request.id}:{now}",
            hours=round(seconds / HOUR_SECONDS, 1),
        )
        requests.put(db, request.id, warned_at=now)
    elif request.warned_at and not low and running:
        requests.put(db, request.id, warned_at=0)
