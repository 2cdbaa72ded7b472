"""What events of the core mean for servers, meters and the queue. Runs in the writer thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qrmd.api import Event, Transaction, now_us
from qrmd_cloud.model import MarkKind, Server
from qrmd_cloud.rules import RuleBook
from qrmd_cloud.states import BILLED, RequestState, ServerState, is_allowed
from qrmd_cloud.store import bills, meter, requests, servers

Ask = Callable[[str, Mapping[str, Any]], None]

MARKS = {
    "active": MarkKind.ON,
    "stopping": MarkKind.OFF,
    "stopped": MarkKind.OFF,
    "error": MarkKind.OFF,
    "paused": MarkKind.OFF,
    "failing_over": MarkKind.OFF,
    "removing": MarkKind.OFF,
    "removed": MarkKind.OFF,
}
"""What the state of an appliance tells the meter: a stop counts when it is accepted, a fault when it is known."""

SHOWN = {
    "active": ServerState.ACTIVE,
    "stopped": ServerState.STOPPED,
    "error": ServerState.FAULTY,
    "paused": ServerState.FAULTY,
    "failing_over": ServerState.FAULTY,
}
"""What the user is shown."""

FREES = frozenset({("appliance", "stopped"), ("appliance", "removed"), ("host", "up"), ("image", "removed")})
NEWS = frozenset({"host.added", "storage.added", "network.added"})


class Observer:
    """Sees events in order, at least once; each changes rows at most once."""

    def __init__(self, rules: RuleBook) -> None:
        self._rules = rules

    def see(self, event: Event, db: Transaction, ask: Ask) -> None:
        """Follow appliances, send mails, wake the queue."""
        kind, _, ident = event.subject.partition(":")
        target = str(event.data.get("to", ""))
        if kind == "appliance" and target:
            self._follow(db, event, int(ident), target)
        elif event.kind == "cloud_mail.queued":
            ask("cloud.mail", {"mail": int(ident)})
        if _is_next(db, event, kind, target, ident):
            ask("cloud.queue.advance", {})

    def _follow(self, db: Transaction, event: Event, appliance_id: int, target: str) -> None:
        server = servers.of_appliance(db, appliance_id)
        if server is None or server.state is ServerState.REMOVED:
            return
        if target in MARKS and not meter.mark(db, server.id, event.at, MARKS[target], event.kind, event.id):
            return
        _show(db, server, event, target)
        if target in MARKS and requests.get(db, server.request_id).state in BILLED:
            bills.settle(db, server.request_id, max(event.at, now_us()), self._rules.now)


def _show(db: Transaction, server: Server, event: Event, target: str) -> None:
    state = SHOWN.get(target)
    if state is ServerState.ACTIVE and not server.active_at:
        servers.put(db, server.id, active_at=event.at)
    if state is None or state is server.state or not is_allowed(servers.KIND, server.state, state):
        return
    servers.move(db, server, state, event.kind)


def _is_next(db: Transaction, event: Event, kind: str, target: str, ident: str) -> bool:
    """Whether the next request of the queue may have its turn now."""
    if kind == requests.KIND:
        ended = target in {RequestState.NO_RESOURCE, RequestState.ERROR, RequestState.CANCELLED, RequestState.ACTIVE}
        return (ended or event.kind == "cloud_request.placed") and requests.waits(db)
    frees = (kind, target) in FREES or event.kind in NEWS
    if not frees or not requests.waits(db) or (kind == "appliance" and _was_a_try(db, int(ident))):
        return False
    requests.note_free(db, event.at)
    return True


def _was_a_try(db: Transaction, appliance_id: int) -> bool:
    """Of a request that was undone: what it gives back it had just taken, so nothing became free."""
    if not servers.was_ours(db, appliance_id):
        return False
    server = servers.of_appliance(db, appliance_id)
    return server is None or requests.get(db, server.request_id).state not in BILLED
