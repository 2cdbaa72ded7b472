"""Servers are made and taken back as child operations of the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.api import Again, Context, Done, Final, NoCapacity, Outcome, QrmdError, Services, StepFailed, events, now_us
from qrmd.api import Transaction as Tx
from qrmd_cloud import children
from qrmd_cloud.children import ADD, REMOVE, START, Core, Progress
from qrmd_cloud.lease import need
from qrmd_cloud.model import Request, Server
from qrmd_cloud.rules import RuleBook, Rules
from qrmd_cloud.states import ServerState
from qrmd_cloud.store import ledger, requests, servers

Args = Mapping[str, Any]
LOOK = 5.0
"""Seconds between two looks; the end of a child wakes the step before."""


class MakeServers:
    """Every server of a request is active, or (``partial``) those that fit.

    Arguments: ``request``, ``owner``, ``passwords`` (server number as text → ``secret:<id>``).
    Publishes ``servers``: a list of ``{"hostname", "address", "login"}``.
    """

    name = "cloud.make_servers"
    retries = 0

    def __init__(self, services: Services, rules: RuleBook) -> None:
        self.timeout = float(services.config.provision_timeout)
        self._grace: int = services.config.stop_seconds
        self._core = Core(services)
        self._rules = rules

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Ask for what was not asked for yet, look at what was."""
        request = await ctx.read(requests.get, args["request"])
        try:
            for server in await ctx.read(servers.of_request, request.id):
                if not server.workflow_id:
                    await self._begin(ctx, args, request, server)
            await ctx.write(note_placed, request.id)
            return await self._look(ctx, request)
        except QrmdError as error:
            await ctx.write(note_failure, request.id, error.as_dict())
            raise

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Take all of it down."""
        return await _all_gone(self._core, ctx, args["request"], self._grace)

    async def _begin(self, ctx: Context, args: Args, request: Request, server: Server) -> None:
        networks = await self._core.networks(self._rules.now.networks, request.nics)
        name = f"cloud-{request.id}-{server.number}"
        spec = children.appliance_spec(request, name, server.hostname, networks, args["owner"])
        appliance = await ctx.operation("appliance.add", {"spec": spec}, number=children.place_of(server, ADD))
        await ctx.write(servers.note_appliance, server.id, appliance, now_us())
        arguments = {"appliance": appliance, "password": args["passwords"].get(str(server.number), "")}
        try:
            workflow = await ctx.operation("appliance.start", arguments, number=children.place_of(server, START))
        except NoCapacity as error:
            if not await self._may_be_less(ctx, request, server):
                raise
            await self._drop(ctx, server, appliance, error.as_dict())
        else:
            await ctx.write(note_workflow, server.id, workflow)

    async def _may_be_less(self, ctx: Context, request: Request, server: Server) -> bool:
        """A partial request is content with one server; the last candidate must fit."""
        others = [each for each in await ctx.read(servers.of_request, request.id) if each.id != server.id]
        return request.partial and bool(others)

    async def _drop(self, ctx: Context, server: Server, appliance: int, fault: Mapping[str, Any]) -> None:
        await ctx.operation("appliance.remove", {"appliance": appliance}, number=children.place_of(server, REMOVE))
        await ctx.write(note_dropped, server, fault, self._rules.now)

    async def _look(self, ctx: Context, request: Request) -> Outcome:
        waiting = []
        for server in await ctx.read(servers.of_request, request.id):
            progress = await self._core.progress(server.workflow_id)
            if progress.live:
                waiting.append(server.hostname)
            elif progress.state != "done":
                await self._failed(ctx, request, server, progress)
        if waiting:
            return Again(LOOK, f"waiting for {', '.join(waiting)}")
        return Done({"servers": await self._handed_over(ctx, request)})

    async def _failed(self, ctx: Context, request: Request, server: Server, progress: Progress) -> None:
        fault = progress.fault
        if fault.get("error") != NoCapacity.__name__:
            raise StepFailed(
                f"{server.hostname} did not start: {fault.get('message', progress.state)}",
                subject=f"appliance:{server.appliance_id}",
                hint=str(fault.get("hint", "")),
            )
        if not await self._may_be_less(ctx, request, server):
            raise NoCapacity(str(fault["message"]), hint=str(fault.get("hint", "")), **fault.get("data", {}))
        await self._drop(ctx, server, server.appliance_id or 0, fault)

    async def _handed_over(self, ctx: Context, request: Request) -> list[dict[str, str]]:
        found = []
        for server in await ctx.read(servers.of_request, request.id):
            appliance = await self._core.appliance(server.appliance_id or 0)
            if appliance is None:
                raise StepFailed(f"{server.hostname} vanished", subject=f"appliance:{server.appliance_id}")
            nics = appliance.get("nics") or [{"address": ""}]
            facts = {"address": str(nics[0]["address"]), "login": str(appliance["login"])}
            await ctx.write(note_access, server.id, facts)
            found.append({"hostname": server.hostname, **facts})
        if not found:
            raise StepFailed("no server is left of the request", subject=f"cloud_request:{request.id}")
        return found


class RemoveServers(Final):
    """No appliance of a request is left. Arguments: ``request``."""

    name = "cloud.remove_servers"
    timeout = 3600.0
    retries = 5

    def __init__(self, services: Services) -> None:
        self._core = Core(services)
        self._grace: int = services.config.stop_seconds

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Stop and remove all, side by side."""
        return await _all_gone(self._core, ctx, args["request"], self._grace)


async def _all_gone(core: Core, ctx: Context, request_id: int, grace_seconds: int) -> Outcome:
    left = [
        server.hostname
        for server in await ctx.read(servers.of_request, request_id)
        if not await children.take_down(core, ctx, server, grace_seconds)
    ]
    return Again(LOOK, f"waiting for the end of {', '.join(left)}") if left else Done()


# ------------------------------------------------------------ rows


def note_placed(db: Tx, request_id: int) -> None:
    """Every server has its place: the next in the queue may look for one."""
    if not requests.get(db, request_id).placing:
        return
    requests.put(db, request_id, placing=0)
    if requests.waits(db):
        events.append(db, "cloud_request.placed", f"{requests.KIND}:{request_id}")


def note_failure(db: Tx, request_id: int, fault: Mapping[str, Any]) -> None:
    """Why provisioning will be undone."""
    cause = "no_resource" if fault["error"] == NoCapacity.__name__ else "error"
    requests.put(db, request_id, cause=cause, explanation=dict(fault))


def note_workflow(db: Tx, server_id: int, workflow_id: int) -> None:
    """The server's start is under way."""
    servers.put(db, server_id, workflow_id=workflow_id)


def note_access(db: Tx, server_id: int, facts: Mapping[str, str]) -> None:
    """Where and as whom to log in."""
    servers.put(db, server_id, address=facts["address"], login=facts["login"])


def note_dropped(db: Tx, server: Server, fault: Mapping[str, Any], rules: Rules) -> None:
    """A partial request goes on without this server, and holds no CCUs for it any more."""
    servers.put(db, server.id, appliance_id=None, workflow_id=0, note=str(fault["message"]))
    servers.move(db, servers.get(db, server.id), ServerState.REMOVED, "it did not fit; the request is partial")
    request = requests.get(db, server.request_id)
    needed = need(request, len(servers.of_request(db, request.id)), now_us(), rules)
    ledger.set_hold(db, request, min(ledger.hold_of(db, request.id), needed))
