"""Servers of requests."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

from qrmd.api import SYSTEM, Actor, Conflict, Db, NotFound, Ref, Role, Transaction, load, transition
from qrmd.api import hostnames as ledger_of_names
from qrmd_cloud.model import MarkKind, Request, Server
from qrmd_cloud.states import ServerState
from qrmd_cloud.store import meter

FILTERS = ("state", "request_id", "user_id", "hostname")
KIND = "cloud_server"


def hostnames(request: Request) -> list[str]:
    """The host names a request asks for: none, the one, or numbered ones."""
    if not request.hostname:
        return [""] * request.quantity
    if request.quantity == 1:
        return [request.hostname]
    return [f"{request.hostname}-{number}" for number in range(1, request.quantity + 1)]


def insert_all(db: Transaction, request: Request, networks: Sequence[Ref], actor: Actor) -> None:
    """The servers of a new request, with their host names held in the networks that they will join.

    Raises:
        Conflict: a host name is taken; who holds it is told to those who may see all appliances.
    """
    for number, wanted in enumerate(hostnames(request), 1):
        hostname = wanted or _free_name(db, f"cloud-{request.id}-{number}", networks)
        if _is_ordered(db, hostname):
            raise _taken(hostname)
        try:
            ledger_of_names.reserve(db, _holder(request.id), hostname, networks)
        except Conflict:
            if actor.role is Role.CLOUD:
                raise _taken(hostname) from None
            raise
        db.execute(
            "INSERT INTO cloud_servers (request_id, user_id, number, hostname, state) VALUES (?, ?, ?, ?, 'new')",
            (request.id, request.user_id, number, hostname),
        )


def taken(db: Db, request: Request, networks: Sequence[Ref]) -> list[str]:
    """Host names that a request asks for and somebody else has."""
    but = _holder(request.id)
    return [
        name
        for name in filter(None, hostnames(request))
        if _is_ordered(db, name, but=request.id) or ledger_of_names.is_taken(db, name, networks, but)
    ]


def _taken(hostname: str) -> Conflict:
    return Conflict(f"the host name {hostname} is taken", hint="choose another one, or leave it to us")


def _free_name(db: Db, name: str, networks: Sequence[Ref]) -> str:
    """A name of our choice must not fail because somebody guessed it."""
    candidates = chain((name, f"{name}-2"), (f"{name}-{secrets.token_hex(8)}" for _ in count()))
    return next(
        each for each in candidates if not ledger_of_names.is_taken(db, each, networks) and not _is_ordered(db, each)
    )


def _is_ordered(db: Db, hostname: str, but: int = 0) -> bool:
    sql = "SELECT 1 FROM cloud_servers WHERE hostname = ? AND state <> 'removed' AND request_id <> ?"
    return db.value(sql, (hostname, but)) is not None


def _holder(request_id: int) -> str:
    """Who holds the names: the subject of the workflows that will make the servers."""
    return f"cloud_request:{request_id}"


def of_request(db: Db, request_id: int, *, gone: bool = False) -> list[Server]:
    """Servers of a request in order; ``gone``: also removed ones."""
    rows = db.rows("SELECT * FROM cloud_servers WHERE request_id = ? ORDER BY number", (request_id,))
    return [load(Server, row) for row in rows if gone or row["state"] != ServerState.REMOVED]


def get(db: Db, ident: int, user_id: int | None = None) -> Server:
    """A server; with ``user_id`` only that user's. Raises NotFound."""
    row = db.row("SELECT * FROM cloud_servers WHERE id = ?", (ident,))
    if row is None or user_id not in {None, row["user_id"]}:
        raise NotFound(f"there is no cloud server {ident}", subject=f"{KIND}:{ident}", hint="see cloud.server.list")
    return load(Server, row)


def of_appliance(db: Db, appliance_id: int) -> Server | None:
    """The server that an appliance is now."""
    row = db.row("SELECT * FROM cloud_servers WHERE appliance_id = ?", (appliance_id,))
    return None if row is None else load(Server, row)


def was_ours(db: Db, appliance_id: int) -> bool:
    """Whether an appliance was ever made for a server."""
    return db.value("SELECT 1 FROM cloud_attempts WHERE appliance_id = ?", (appliance_id,)) is not None


def put(db: Transaction, ident: int, **columns: Any) -> None:
    """Change columns other than the state."""
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    db.execute(f"UPDATE cloud_servers SET {assignments} WHERE id = :id", columns | {"id": ident})  # noqa: S608


def note_appliance(db: Transaction, ident: int, appliance_id: int, at: int) -> None:
    """A server has its definition in the core."""
    db.execute(
        "INSERT INTO cloud_attempts (appliance_id, server_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (appliance_id, ident, at),
    )
    put(db, ident, appliance_id=appliance_id)


def move(db: Transaction, server: Server, target: ServerState, reason: str, actor: str = SYSTEM.name) -> None:
    """Along an edge, with its event; nothing when it is there already. The host name of one that is gone is free."""
    if server.state is target:
        return
    transition(db, KIND, server.id, target, actor=actor, reason=reason)
    if target is ServerState.REMOVED:
        ledger_of_names.release(db, _holder(server.request_id), server.hostname)


def reset(db: Transaction, server: Server, at: int, reason: str) -> None:
    """Provisioning was undone: as if it had never been there."""
    if server.state is ServerState.REMOVED:
        return
    move(db, server, ServerState.NEW, reason)
    meter.mark(db, server.id, at, MarkKind.VOID, reason)
    put(db, server.id, appliance_id=None, workflow_id=0, address="", login="", active_at=0)


def drop_all(db: Transaction, request_id: int, reason: str) -> None:
    """The servers of a request are gone or will never be."""
    for server in of_request(db, request_id):
        move(db, server, ServerState.REMOVED, reason)


def unpaid(db: Db) -> list[int]:
    """Appliances that run although the CCUs of their request met their end."""
    rows = db.rows(
        "SELECT s.appliance_id FROM cloud_requests r JOIN cloud_servers s ON s.request_id = r.id"
        " WHERE r.state = 'active' AND r.exhausted_at > 0 AND s.state = 'active' AND s.appliance_id IS NOT NULL"
        " ORDER BY s.id"
    )
    return [row["appliance_id"] for row in rows]
