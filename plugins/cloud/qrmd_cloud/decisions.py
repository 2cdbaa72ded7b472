"""What becomes of a request, as rows: each function is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from qrmd.api import (
    SECOND,
    Actor,
    Conflict,
    InvalidInput,
    NoCapacity,
    Ref,
    TooManyRequests,
    Transaction,
    events,
    now_us,
    to_iso,
)
from qrmd_cloud.lease import need
from qrmd_cloud.limits import asked, refuse_excess
from qrmd_cloud.model import ProductKind, Request, User
from qrmd_cloud.money import HOUR_SECONDS, show
from qrmd_cloud.preview import priced
from qrmd_cloud.pricing import total
from qrmd_cloud.rules import Rules
from qrmd_cloud.spec import check_lease
from qrmd_cloud.states import OPEN, RequestState
from qrmd_cloud.store import ledger, letters, mails, requests, servers, users

DAY_HOURS = 24


def create(
    db: Transaction, request: Request, rules: Rules, actor: Actor, networks: Sequence[Ref], reason: str = ""
) -> dict[str, Any]:
    """Insert a request that fits limits and CCUs; it may approve itself.

    Args:
        networks: that its servers will join.
        reason: kept with the event (empty: the request's own).

    Returns:
        ``{"request", "approved", "attempt"}``.

    Raises:
        NoCapacity: a limit, or CCUs are missing, or too many requests are open; nothing was made.
        TooManyRequests: the user has made too many within an hour.
        Conflict: a host name is taken.
        InvalidInput: high availability without a price for it.
    """
    user = users.find(db, request.user_id)
    _refuse_haste(db, user, rules)
    if requests.count_open(db, user.id) >= rules.max_open_requests:
        raise NoCapacity(
            f"{user.name} has {rules.max_open_requests} open requests",
            subject=f"cloud_user:{user.id}",
            hint="cancel some, or wait until some are done",
        )
    refuse_excess(user, requests.reserved(db, user, states=OPEN), asked(request))
    lines = priced(db, request)
    if request.ha and all(line.kind != ProductKind.HA for line in lines):
        raise InvalidInput(
            "high availability is not offered here", hint="leave ha out; cloud.product.list shows offers"
        )
    estimated = replace(request, price_micro=total(lines))
    _refuse_poverty(db, estimated, rules)
    ident = requests.insert(db, request)
    servers.insert_all(db, replace(request, id=ident), networks, actor)
    events.append(
        db,
        "cloud_request.created",
        f"{requests.KIND}:{ident}",
        actor=actor.name,
        reason=reason or request.reason,
        data={"user": user.name, "image": request.image, "quantity": request.quantity},
    )
    if rules.approves(estimated.price_micro * request.quantity * DAY_HOURS):
        return approve(db, ident, rules, "policy", "approved by the approval policy")
    said = letters.variables(db, requests.get(db, ident)) | {"reason": request.reason}
    mails.queue(db, f"ordered:{ident}", rules.admin_mail, "ordered", said, ident)
    return {"request": ident, "approved": False, "attempt": 0}


def _refuse_haste(db: Transaction, user: User, rules: Rules) -> None:
    """Requests cancelled at once are rows and mails too."""
    least = requests.nth_latest(db, user.id, rules.orders_per_hour)
    wait = least + HOUR_SECONDS * SECOND - now_us()
    if least and wait > 0:
        raise TooManyRequests(
            f"{user.name} has made {rules.orders_per_hour} requests within an hour",
            subject=f"cloud_user:{user.id}",
            hint=f"order again in {-(-wait // (60 * SECOND))} minutes, or have cloud.orders_per_hour raised",
            retry_after=-(-wait // SECOND),
        )


def _refuse_poverty(db: Transaction, request: Request, rules: Rules) -> None:
    wanted, free = need(request, request.quantity, now_us(), rules), ledger.available(db, request.user_id)
    if wanted > free:
        raise NoCapacity(
            f"{show(wanted)} CCU would be held, {show(max(0, free))} are available",
            subject=f"cloud_user:{request.user_id}",
            hint=f"{show(wanted - free)} CCU are missing; order less or shorter, or have CCUs added",
            needed={"ccus": show(wanted)},
            available={"ccus": show(max(0, free))},
            missing={"ccus": show(wanted - free)},
        )


def approve(db: Transaction, ident: int, rules: Rules, actor: str, reason: str) -> dict[str, Any]:
    """Freeze the price, check the limits in rows, hold the CCUs.

    Raises:
        Conflict: not in a state to approve, or its stop time is past.
        NoCapacity: a limit, or CCUs are missing; nothing has changed.
    """
    request, now = requests.get(db, ident), now_us()
    if request.stop_at and request.stop_at <= now:
        raise Conflict("its stop time is past", subject=f"{requests.KIND}:{ident}", hint="it will expire by itself")
    if request.state is RequestState.ERROR and request.active_at:
        raise Conflict("it was active already", subject=f"{requests.KIND}:{ident}", hint="de-provision it")
    user = users.find(db, request.user_id)
    refuse_excess(user, requests.reserved(db, user, without=ident), asked(request))
    lines = priced(db, request)
    requests.move(db, ident, RequestState.APPROVED, actor=actor, reason=reason)
    frozen = replace(request, price_micro=total(lines))
    ledger.hold(db, frozen, need(frozen, request.quantity, now, rules))
    requests.put(
        db,
        ident,
        approved_at=request.approved_at or now,
        approved_by=actor,
        price_micro=frozen.price_micro,
        price_lines=[asdict(line) for line in lines],
        explanation={},
        cause="",
    )
    return {"request": ident, "approved": True, "attempt": request.attempts}


def deny(db: Transaction, ident: int, actor: str, reason: str) -> dict[str, Any]:
    """Say no, with a mail. Raises Conflict."""
    _end(db, ident, RequestState.DENIED, actor, reason)
    letters.to_user(db, requests.get(db, ident), "denied", once=f"denied:{ident}", reason=reason)
    return {"request": ident, "state": RequestState.DENIED.value}


def cancel(db: Transaction, ident: int, actor: str, reason: str, wish: str) -> dict[str, Any]:
    """Give up before it is active; one that is being provisioned only remembers the wish. Raises Conflict.

    Returns:
        ``{"request", "state", "workflow"}``: the workflow to cancel, 0 when none.
    """
    request = requests.get(db, ident)
    if request.state is RequestState.PROVISIONING:
        requests.put(db, ident, wish=wish)
        events.append(
            db,
            f"cloud_request.{wish}_wished",
            f"{requests.KIND}:{ident}",
            actor=actor,
            reason=reason,
            workflow_id=request.workflow_id,
        )
        return {"request": ident, "state": request.state.value, "workflow": request.workflow_id}
    if request.state in {RequestState.ACTIVE, RequestState.DEPROVISIONING} or request.active_at:
        raise Conflict(
            f"it is {request.state}, not waiting",
            subject=f"{requests.KIND}:{ident}",
            hint="use cloud.request.deprovision",
        )
    _end(db, ident, RequestState.CANCELLED, actor, reason)
    return {"request": ident, "state": RequestState.CANCELLED.value, "workflow": 0}


def expire(db: Transaction, ident: int, now: int) -> None:
    """Its stop time came before it was active."""
    request = requests.get(db, ident)
    if request.stop_at and request.stop_at <= now and request.state in {"new", "approved", "no_resource"}:
        _end(db, ident, RequestState.EXPIRED, "system", "the stop time came first")
        letters.to_user(db, request, "expired", once=f"expired:{ident}")


def _end(db: Transaction, ident: int, state: RequestState, actor: str, reason: str) -> None:
    requests.move(db, ident, state, actor=actor, reason=reason)
    servers.drop_all(db, ident, f"request {state}")
    ledger.give_back(db, ident)
    requests.put(db, ident, ended_at=now_us())


def extend(db: Transaction, ident: int, stop: int, rules: Rules, actor: str, reason: str) -> dict[str, Any]:
    """Move the stop time later (0: open-ended), holding what that costs.

    Raises:
        Conflict: it has ended, or the time is not later.
        NoCapacity: CCUs are missing; nothing has changed.
    """
    request, now = requests.get(db, ident), now_us()
    where = f"{requests.KIND}:{ident}"
    if request.state not in {"new", "approved", "no_resource", "provisioning", "active"}:
        raise Conflict(f"it is {request.state}", subject=where)
    if not request.stop_at:
        raise Conflict("it is open-ended already", subject=where)
    if stop and stop <= request.stop_at:
        raise Conflict("the stop time can only be moved later", subject=where, stop=to_iso(request.stop_at))
    check_lease(max(now, request.start_at), stop, rules)
    longer = replace(request, stop_at=stop)
    if request.approved_at:
        alive = len(servers.of_request(db, ident))
        wanted = need(longer, alive, now, rules)
        ledger.hold(db, longer, max(wanted, ledger.hold_of(db, ident)) if stop else wanted)
    requests.put(db, ident, stop_at=stop, due_at=0)
    shown = to_iso(stop) if stop else ""
    events.append(db, "cloud_request.extended", where, actor=actor, reason=reason, data={"stop": shown})
    return {"request": ident, "stop": shown}


def tried(db: Transaction, ident: int, fault: dict[str, Any]) -> None:
    """A try that was refused before it began: explain it and let the next one have its turn."""
    request = requests.get(db, ident)
    requests.put(db, ident, tried_at=now_us(), explanation=fault)
    if request.state is RequestState.APPROVED:
        ledger.give_back(db, ident)
        requests.move(db, ident, RequestState.NO_RESOURCE, data={"fault": fault})
        letters.no_resource(db, request, fault)


def line_up(db: Transaction, ident: int, before: int) -> None:
    """An older request asks for no more and found no room, so this one needs no try: it waits behind it."""
    if requests.get(db, ident).state is not RequestState.APPROVED:
        return
    known = requests.get(db, before).explanation
    fault = {
        "error": NoCapacity.__name__,
        "message": f"request {before} waits before it and asks for no more: {known.get('message', '')}",
        "hint": str(known.get("hint", "")),
        "data": dict(known.get("data", {})),
    }
    tried(db, ident, fault)
