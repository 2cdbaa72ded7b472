"""Verbs about the servers of a user."""

from __future__ import annotations

from typing import Annotated, Any

from qrmd.api import (
    CLOUD_CHANGE,
    CLOUD_USE,
    Call,
    Conflict,
    Db,
    ListOptions,
    NoCapacity,
    Options,
    Range,
    Services,
    to_iso,
    verb,
)
from qrmd_cloud.access import scope
from qrmd_cloud.model import Request, Server
from qrmd_cloud.money import show
from qrmd_cloud.states import RequestState
from qrmd_cloud.store import ledger, requests, rows, servers

Id = Annotated[int, Range(1, 2**53)]
_NO_OPTIONS = Options()
_ALL = ListOptions()


class Servers:
    """``cloud.server.*``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @verb("cloud.server.list", roles=CLOUD_USE)
    async def list(self, call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
        """Servers in order of ids; a cloud user's own."""
        return await call.read(_list, scope(call), options)

    @verb("cloud.server.get", roles=CLOUD_USE)
    async def get(self, call: Call, server: Id) -> dict[str, Any]:
        """One server with its sizes and what it has cost."""
        return await call.read(_get, server, scope(call))

    @verb("cloud.server.start", roles=CLOUD_CHANGE, changes=True)
    async def start(self, call: Call, server: Id, options: Options = _NO_OPTIONS) -> Any:
        """Start a stopped server; it is billed again once it answers. Returns the workflow's id."""
        return await self._operate(call, server, "appliance.start", options)

    @verb("cloud.server.stop", roles=CLOUD_CHANGE, changes=True)
    async def stop(self, call: Call, server: Id, options: Options = _NO_OPTIONS) -> Any:
        """Stop a server; disk and address are kept, billing ends when this is accepted. Returns the workflow's id."""
        return await self._operate(call, server, "appliance.stop", options)

    @verb("cloud.server.restart", roles=CLOUD_CHANGE, changes=True)
    async def restart(self, call: Call, server: Id, options: Options = _NO_OPTIONS) -> Any:
        """Shut a server down and boot it again in place. Returns the workflow's id."""
        return await self._operate(call, server, "appliance.restart", options)

    @verb("cloud.server.console_log", roles=CLOUD_USE)
    async def console_log(self, call: Call, server: Id) -> Any:
        """The end of what a server wrote to its console."""
        appliance = await call.read(_appliance_of, server, scope(call))
        return await self._services.ask("appliance.console_log", appliance)

    async def _operate(self, call: Call, server: int, operation: str, options: Options) -> Any:
        appliance = await call.read(_operable, server, scope(call), operation)
        return await call.start(operation, appliance, {}, options)


def _appliance_of(db: Db, ident: int, own: int | None) -> int:
    server = servers.get(db, ident, own)
    if server.appliance_id is None or server.state == "removed":
        raise Conflict(f"it is {server.state}: there is nothing of it", subject=f"{servers.KIND}:{ident}")
    return server.appliance_id


def _operable(db: Db, ident: int, own: int | None, operation: str) -> int:
    """The appliance of a server whose user may operate it now. Raises NotFound, Conflict, NoCapacity."""
    appliance = _appliance_of(db, ident, own)
    request = requests.get(db, servers.get(db, ident).request_id)
    if request.state is not RequestState.ACTIVE:
        raise Conflict(
            f"its request {request.id} is {request.state}",
            subject=f"{servers.KIND}:{ident}",
            hint="wait until the request is active",
        )
    if operation != "appliance.stop" and (request.exhausted_at or not _can_pay(db, request)):
        raise NoCapacity(
            "no CCUs are left",
            subject=f"{servers.KIND}:{ident}",
            hint="have CCUs added first",
            missing={"ccus": show(request.price_micro)},
        )
    return appliance


def _can_pay(db: Db, request: Request) -> bool:
    return not request.price_micro or ledger.spendable(db, request) > 0


def _list(db: Db, own: int | None, options: ListOptions) -> list[dict[str, Any]]:
    fixed = {} if own is None else {"user_id": own}
    return rows.listed(rows.page(db, Server, "cloud_servers", options, servers.FILTERS, fixed), view, options)


def _get(db: Db, ident: int, own: int | None) -> dict[str, Any]:
    server = servers.get(db, ident, own)
    request = requests.get(db, server.request_id)
    return view(server) | {
        "image": request.image,
        "cpus": request.cpus,
        "memory_mb": request.memory_mb,
        "disk_mb": request.disk_mb,
        "price_per_hour": show(request.price_micro),
        "billed": show(-sum(line.amount_micro for line in ledger.of_server(db, ident))),
    }


def view(server: Server) -> dict[str, Any]:
    """A server as the interface shows it."""
    return {
        "id": server.id,
        "request": server.request_id,
        "hostname": server.hostname,
        "state": server.state.value,
        "address": server.address,
        "login": server.login,
        "active": to_iso(server.active_at) if server.active_at else "",
        "appliance": server.appliance_id or 0,
        "note": server.note,
    }
