"""Verbs about requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from qrmd.api import (
    CLOUD_CHANGE,
    CLOUD_USE,
    OPERATE,
    Call,
    Conflict,
    Db,
    InvalidInput,
    Length,
    ListOptions,
    NotFound,
    Options,
    Range,
    Services,
    now_us,
    to_iso,
    verb,
)
from qrmd_cloud import decisions, preview, spec
from qrmd_cloud.access import scope, subject_user
from qrmd_cloud.children import Core
from qrmd_cloud.model import Request, User
from qrmd_cloud.money import show
from qrmd_cloud.pricing import PriceLine, shown, total
from qrmd_cloud.rules import RuleBook, Rules
from qrmd_cloud.spec import RequestSpec
from qrmd_cloud.store import ledger, requests, rows, servers, users

Id = Annotated[int, Range(1, 2**53)]
_NO_OPTIONS = Options()
_ALL = ListOptions()


@dataclass(frozen=True, slots=True)
class PlanSpec(RequestSpec):
    """An order, or the ``id`` of one that was made already."""

    id: Annotated[int, Range(0, 2**53)] = 0


class Requests:
    """``cloud.request.*``."""

    def __init__(self, services: Services, rules: RuleBook) -> None:
        self._services = services
        self._rules = rules
        self._core = Core(services)

    @verb("cloud.request.create", roles=CLOUD_CHANGE, changes=True)
    async def create(self, call: Call, request: RequestSpec, options: Options = _NO_OPTIONS) -> Any:
        """Order servers. Returns the request's id; a dry run returns the plan.

        Administrators and operators name the cloud ``user``. Limits and CCUs are checked before anything is made.
        """
        wanted = await self._wanted(call, replace(request, reason=request.reason or options.reason))
        if options.dry_run:
            return await self._plan(call, wanted)
        rules = await self._rules.read()
        networks = await self._core.networks(rules.networks, wanted.nics)
        answer = await call.change(options, decisions.create, wanted, rules, call.actor, networks, options.reason)
        if answer["approved"]:
            await self._provision(call, answer, options)
        return answer["request"]

    @verb("cloud.request.plan", roles=CLOUD_USE)
    async def plan(self, call: Call, request: PlanSpec) -> dict[str, Any]:
        """What a request would mean: placement per server, price, CCUs held, balance and limits after, steps.

        Takes the same struct as ``cloud.request.create``, or ``{"id": 7}`` for a request that was made already.
        """
        if request.id:
            return await self._plan(call, await call.read(requests.get, request.id, scope(call)))
        return await self._plan(call, await self._wanted(call, request))

    @verb("cloud.request.list", roles=CLOUD_USE)
    async def list(self, call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
        """Requests in order of ids; a cloud user's own."""
        return await call.read(_list, scope(call), options)

    @verb("cloud.request.get", roles=CLOUD_USE)
    async def get(self, call: Call, request: Id) -> dict[str, Any]:
        """One request with its servers, price lines, what it holds and what was billed."""
        return await call.read(_get, request, scope(call))

    @verb("cloud.request.approve", roles=OPERATE, changes=True)
    async def approve(self, call: Call, request: Id, options: Options = _NO_OPTIONS) -> Any:
        """Freeze the price, hold the CCUs, and provision when the start time has come.

        Returns the workflow's id (0: it waits for its start time or its turn); a dry run returns the plan.
        """
        if options.dry_run:
            return await self._plan(call, await call.read(requests.get, request, scope(call)))
        rules = await self._rules.read()
        answer = await call.change(options, decisions.approve, request, rules, call.actor.name, options.reason)
        return await self._provision(call, answer, options)

    @verb("cloud.request.deny", roles=OPERATE, changes=True)
    async def deny(self, call: Call, request: Id, options: Options = _NO_OPTIONS) -> Any:
        """Say no; the ``reason`` goes into the user's mail."""
        return await call.change(options, decisions.deny, request, call.actor.name, options.reason)

    @verb("cloud.request.cancel", roles=CLOUD_CHANGE, changes=True)
    async def cancel(self, call: Call, request: Id, options: Options = _NO_OPTIONS) -> Any:
        """Give up a request that is not active; one that is being provisioned is undone. Nothing is billed."""
        return await self._give_up(call, request, options, "cancel")

    @verb("cloud.request.deprovision", roles=CLOUD_CHANGE, changes=True)
    async def deprovision(self, call: Call, request: Id, options: Options = _NO_OPTIONS) -> Any:
        """Give the servers and their disks back. Billing ends when this is accepted. Returns the workflow's id."""
        found = await call.read(requests.get, request, scope(call))
        if found.state in {"active", "error", "deprovisioning", "done"}:
            return await call.start("cloud.deprovision", request, {"why": options.reason}, options)
        answer = await self._give_up(call, request, options, "deprovision")
        return answer.get("workflow", answer) if found.state == "provisioning" else answer

    @verb("cloud.request.extend", roles=CLOUD_CHANGE, changes=True)
    async def extend(
        self, call: Call, request: Id, stop: Annotated[str, Length(40)] = "", options: Options = _NO_OPTIONS
    ) -> Any:
        """Move the stop time later (empty: open-ended) at the frozen price; the CCUs are held at once."""
        found = await call.read(requests.get, request, scope(call))
        rules = await self._rules.read()
        moment = spec.moment(stop, "stop")
        return await call.change(options, decisions.extend, found.id, moment, rules, call.actor.name, options.reason)

    # ------------------------------------------------------------ inside

    async def _wanted(self, call: Call, wanted: RequestSpec) -> Request:
        if not wanted.image:
            raise InvalidInput("request lacks image", hint="image.list names them")
        user: User = await call.read(subject_user, scope(call), wanted.user)
        facts = await self._core.image(wanted.image)
        return spec.check(wanted, facts, await self._rules.read(), user.id, now_us())

    async def _plan(self, call: Call, request: Request) -> dict[str, Any]:
        rules = await self._rules.read()
        lines, found = await call.read(_account, request, rules)
        found["objections"] += await self._taken(call, request, rules)
        placed = await preview.placement(
            self._core, replace(request, price_micro=total(lines)), rules, f"cloud:{found['user']}"
        )
        return {"request": request.id} | found | {"placement": placed, "steps": preview.steps(request, placed)}

    async def _taken(self, call: Call, request: Request, rules: Rules) -> tuple[str, ...]:
        try:
            networks = await self._core.networks(rules.networks, request.nics)
        except NotFound:
            return ()  # the placement says so
        taken = await call.read(servers.taken, request, networks)
        return tuple(f"the host name {name} is taken" for name in taken)

    async def _provision(self, call: Call, answer: Mapping[str, Any], options: Options) -> int:
        """Start an approved request now, unless its time or its turn is still to come."""
        request = await call.read(requests.get, answer["request"])
        if request.attempts == answer["attempt"] and request.start_at > now_us():
            return 0
        if request.attempts == answer["attempt"] and await call.read(requests.is_behind, request):
            await self._services.ask("cloud.queue.advance")
            return 0
        key = f"provision:{request.id}:{answer['attempt']}"
        try:
            started = await call.start("cloud.provision", request.id, {}, Options(key=key, reason=options.reason))
        except Conflict:
            return request.workflow_id  # the queue was faster
        return int(started) if not isinstance(started, dict) else 0

    async def _give_up(self, call: Call, request: int, options: Options, wish: str) -> Any:
        await call.read(requests.get, request, scope(call))
        answer = await call.change(options, decisions.cancel, request, call.actor.name, options.reason, wish)
        if not options.dry_run and answer["workflow"]:
            try:
                await self._services.ask("workflow.cancel", answer["workflow"], {"reason": options.reason})
            except Conflict:
                return answer  # it ends by itself; the wish is kept and done then
        return answer


def _list(db: Db, own: int | None, options: ListOptions) -> list[dict[str, Any]]:
    fixed = {} if own is None else {"user_id": own}
    found = rows.page(db, Request, "cloud_requests", options, requests.FILTERS, fixed)
    return rows.listed(found, partial(view, db), options)


def _get(db: Db, ident: int, own: int | None) -> dict[str, Any]:
    request = requests.get(db, ident, own)
    lines = tuple(PriceLine(**line) for line in request.price_lines)
    return view(db, request) | {
        "price_lines": shown(lines),
        "explanation": request.explanation,
        "held": show(ledger.hold_of(db, ident)),
        "billed": show(ledger.billed(db, ident)),
        "servers": [
            {
                "id": server.id,
                "hostname": server.hostname,
                "state": server.state.value,
                "address": server.address,
                "login": server.login,
            }
            for server in servers.of_request(db, ident, gone=True)
        ],
    }


def _account(db: Db, request: Request, rules: Any) -> tuple[tuple[PriceLine, ...], dict[str, Any]]:
    lines = preview.priced(db, request)
    return lines, preview.account(db, replace(request, price_micro=total(lines)), lines, rules)


def view(db: Db, request: Request) -> dict[str, Any]:
    """A request as the interface shows it; what is absent is left out."""
    user = users.get(db, request.user_id)
    times = {
        "start": request.start_at,
        "stop": request.stop_at,
        "created": request.created_at,
        "approved": request.approved_at,
        "active": request.active_at,
        "ended": request.ended_at,
        "tried": request.tried_at,
        "exhausted": request.exhausted_at,
    }
    return {
        "id": request.id,
        "user": user.name if user else "",
        "state": request.state.value,
        "image": request.image,
        "type": request.type,
        "cpus": request.cpus,
        "memory_mb": request.memory_mb,
        "disk_mb": request.disk_mb,
        "nics": request.nics,
        "quantity": request.quantity,
        "ha": request.ha,
        "hostname": request.hostname,
        "partial": request.partial,
        "reason": request.reason,
        "approved_by": request.approved_by,
        "price_per_server_hour": show(request.price_micro),
        "workflow": request.workflow_id,
        "attempts": request.attempts,
        "message": str(request.explanation.get("message", "")),
    } | {name: to_iso(at) if at else "" for name, at in times.items()}
