"""What a request would mean, before anything is made: placement, price, CCUs, limits, steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.api import Db, NoCapacity, NotFound, now_us
from qrmd_cloud.children import Core, appliance_spec
from qrmd_cloud.lease import need, seconds_left
from qrmd_cloud.limits import allowed, asked, table
from qrmd_cloud.model import Request
from qrmd_cloud.money import show
from qrmd_cloud.pricing import Item, PriceLine, price, shown
from qrmd_cloud.rules import Rules
from qrmd_cloud.states import OPEN
from qrmd_cloud.store import ledger, products, requests, servers, users


def item(request: Request) -> Item:
    """What the price of one server of a request depends on."""
    return Item(request.image, request.type, request.cpus, request.memory_mb, request.disk_mb, request.nics, request.ha)


def priced(db: Db, request: Request) -> tuple[PriceLine, ...]:
    """The frozen price lines, or those of today for a request that was not approved yet."""
    if request.approved_at:
        return tuple(PriceLine(**line) for line in request.price_lines)
    return price(products.enabled(db), item(request))


def account(db: Db, request: Request, lines: tuple[PriceLine, ...], rules: Rules) -> dict[str, Any]:
    """Price, CCUs and limits. ``request`` carries the price per server and hour."""
    user = users.find(db, request.user_id)
    held, free = need(request, request.quantity, now_us(), rules), ledger.available(db, user.id)
    free += ledger.hold_of(db, request.id)
    balance = ledger.balance(db, user.id)
    used = requests.reserved(db, user, states=OPEN, without=request.id)
    return {
        "user": user.name,
        "quantity": request.quantity,
        "price_lines": shown(lines),
        "price_per_server_hour": show(request.price_micro),
        "price_per_hour": show(request.price_micro * request.quantity),
        "lease_seconds": seconds_left(request, now_us(), rules),
        "open_ended": not request.stop_at,
        "held": show(held),
        "balance": show(balance),
        "available": show(free),
        "balance_after": show(balance - held),
        "available_after": show(free - held),
        "limits": table(allowed(user), used, asked(request)),
        "objections": _objections(held, free, table(allowed(user), used, asked(request))),
    }


def _objections(held: int, free: int, limits: list[dict[str, Any]]) -> list[str]:
    found = [f"{show(held - free)} CCU are missing"] if held > free else []
    return found + [
        f"{row['after'] - row['limit']} {row['name']} over the limit of {row['limit']}"
        for row in limits
        if row["limit"] and row["after"] > row["limit"]
    ]


async def placement(core: Core, request: Request, rules: Rules, owner: str) -> dict[str, Any]:
    """Where the servers would go, and why there; or why nowhere."""
    try:
        networks = await core.networks(rules.networks, request.nics)
        name = f"cloud-{request.id}" if request.quantity > 1 else f"cloud-{request.id}-1"
        spec = appliance_spec(request, name, request.hostname or name, networks, owner)
        return {"fits": True, **await core.explain(spec, request.quantity)}
    except (NoCapacity, NotFound) as error:
        return {"fits": False, "message": error.message, "hint": error.hint, **error.data}


def steps(request: Request, placed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What will be done, in order; the core's own steps of a start where it told them."""
    named = servers.hostnames(request)
    first = request.id or "N"
    plans = [each["steps"] for each in placed.get("plans", [])]
    found: list[dict[str, Any]] = [{"action": "cloud.hold", "title": "hold the CCUs of the lease"}]
    for number, hostname in enumerate(named, 1):
        name = hostname or f"cloud-{first}-{number}"
        found += [
            {"action": "appliance.add", "title": f"define {name}"},
            {
                "action": "appliance.start",
                "title": f"start {name}",
                "steps": plans[number - 1] if number <= len(plans) else [],
            },
        ]
    return [*found, {"action": "mail.send", "title": "mail the login to the user"}]
