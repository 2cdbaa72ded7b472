"""Web pages: the portal of cloud users, and the cloud's part of the administration. They know verbs only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrmd.api import ADMINISTER, LOOK, Call, Page, QrmdError, Role, Services, deeds
from qrmd_cloud.children import Core
from qrmd_cloud.states import RequestState

TEMPLATES = Path(__file__).parent / "templates"
USER = frozenset({Role.CLOUD})
Given = Mapping[str, Any]
ORDER_FIELDS = (
    "image", "cpus", "memory_mb", "disk_mb", "nics", "quantity", "type", "start", "stop", "hostname", "ssh_key",
    "reason",
)  # fmt: skip
SERVER = tuple(
    deeds.Deed(verb, f"cloud.server.{verb}", verb.capitalize(), follow=False) for verb in ("start", "stop", "restart")
)
GIVEN_UP = (
    deeds.Deed("cancel", "cloud.request.cancel", "Cancel", danger=True, follow=False),
    deeds.Deed("deprovision", "cloud.request.deprovision", "Give back", danger=True, follow=False),
    deeds.Deed("extend", "cloud.request.extend", "Extend"),
)
DECIDED = (
    deeds.Deed("approve", "cloud.request.approve", "Approve", follow=False),
    deeds.Deed("deny", "cloud.request.deny", "Deny"),
)
ACCOUNT = (
    deeds.Deed("ccus", "cloud.user.set_ccus", "Set CCUs"),
    deeds.Deed("remove", "cloud.user.remove", "Remove", danger=True),
)
PRICE = (
    deeds.Deed("update", "cloud.product.update", "Change the price",
         skip=frozenset({"change.unit", "change.name", "change.enabled"})),
    deeds.Deed("remove", "cloud.product.remove", "Remove", danger=True),
)  # fmt: skip
RECENT = 200
PER_PAGE = 100


def order_of(given: Given) -> dict[str, Any]:
    """The request that a form means; fields left empty are left out."""
    spec: dict[str, Any] = {name: given[name] for name in ORDER_FIELDS if given.get(name)}
    return spec | {name: True for name in ("ha", "partial") if given.get(name)}


class Pages:
    """All pages of the plugin."""

    def __init__(self, services: Services) -> None:
        self._core = Core(services)

    def all(self) -> list[Page]:
        """What the plugin registers."""
        return [*self._portal(), *self._admin()]

    def _portal(self) -> list[Page]:
        def page(path: str, title: str, section: str, name: str, context: Any, actions: Any) -> Page:
            return Page(path, title, section, USER, TEMPLATES, f"{name}.html", context, actions, "portal")

        given_up = deeds.actions(GIVEN_UP, "request", path="/requests/{id}")
        servers = deeds.actions(SERVER, "server", "row", "/servers")
        return [
            page("/servers", "My servers", "Servers", "servers", self._servers, servers),
            page("/order", "Order servers", "Servers", "order", self._order, {"order": self._buy}),
            page("/requests", "My requests", "Servers", "requests", self._requests, {}),
            page("/requests/<int:id>", "Request", "", "request", self._request, given_up),
            page("/servers/<int:id>/console", "Console", "", "console_log", self._console, {}),
            page("/account", "Account", "Account", "account", self._account, {}),
        ]

    def _admin(self) -> list[Page]:
        def page(path: str, title: str, section: str, name: str, context: Any, actions: Any) -> Page:
            return Page(path, title, section, LOOK, TEMPLATES, f"{name}.html", context, actions)

        answers = deeds.actions((*DECIDED, *GIVEN_UP), "request", path="/cloud/requests/{id}")
        users = {"add": self._add_user, **deeds.actions(ACCOUNT, "user", "row", "/cloud/users")}
        prices = {"add": self._add_product, **deeds.actions(PRICE, "product", "row", "/cloud/products")}
        return [
            page("/cloud/requests", "Requests", "Cloud", "requests", self._requests, {}),
            page("/cloud/requests/<int:id>", "Request", "", "request", self._request, answers),
            page("/cloud/users", "Cloud users", "Cloud", "users", self._users, users),
            page("/cloud/products", "Prices", "Cloud", "products", self._products, prices),
        ]

    # ------------------------------------------------------------ portal

    async def _servers(self, call: Call, _given: Given) -> Given:
        rows = await call.ask("cloud.server.list", {})
        return {"rows": [row for row in rows if row["state"] != "removed"]}

    async def _console(self, call: Call, given: Given) -> Given:
        server = await call.ask("cloud.server.get", given["id"])
        return {"server": server, "text": await call.ask("cloud.server.console_log", given["id"])}

    async def _order(self, call: Call, given: Given) -> Given:
        shown: dict[str, Any] = {"offer": None, "fault": None, "images": await self._core.images()}
        shown["account"] = await call.ask("cloud.account.get")
        shown["prices"] = [row for row in await call.ask("cloud.product.list", {}) if row["enabled"]]
        if given.get("image"):
            try:
                shown["offer"] = await call.ask("cloud.request.plan", order_of(given))
            except QrmdError as error:
                shown["fault"] = error
        return shown

    async def _buy(self, call: Call, given: Given) -> str:
        ident = await call.ask("cloud.request.create", order_of(given), deeds.options_of(given))
        return f"/requests/{ident}"

    async def _account(self, call: Call, given: Given) -> Given:
        after = str(given.get("after", ""))
        page = {"limit": RECENT, "after": int(after) if after.isdecimal() and len(after) < 16 else 0}
        lines = await call.ask("cloud.account.transactions", page)
        return {
            "account": await call.ask("cloud.account.get"),
            "rows": lines,
            "next": lines[-1]["id"] if len(lines) == RECENT else 0,
        }

    # ------------------------------------------------------------ requests

    async def _requests(self, call: Call, given: Given) -> Given:
        state, text = str(given.get("state", "")), str(given.get("skip", ""))
        skip = int(text) if text.isdecimal() and len(text) < 10 else 0
        where = {"state": state} if state else {}
        asked = {"where": where, "order": "-id", "skip": skip, "limit": PER_PAGE + 1}
        rows = await call.ask("cloud.request.list", asked)
        more = len(rows) > PER_PAGE
        return {
            "rows": rows[:PER_PAGE], "state": state, "states": [str(each) for each in RequestState], "skip": skip,
            "next": skip + PER_PAGE if more else None, "per_page": PER_PAGE, "home": _home(call),
        }  # fmt: skip

    async def _request(self, call: Call, given: Given) -> Given:
        request = await call.ask("cloud.request.get", given["id"])
        offer = None
        if request["state"] in {"new", "approved", "no_resource"}:
            offer = await call.ask("cloud.request.plan", {"id": given["id"]})
        return {"request": request, "offer": offer, "home": _home(call)}

    # ------------------------------------------------------------ users and prices

    async def _users(self, call: Call, _given: Given) -> Given:
        return {"rows": await call.ask("cloud.user.list", {}), "made": None, "change": call.actor.role in ADMINISTER}

    async def _add_user(self, call: Call, given: Given) -> Given:
        user = {name: str(given.get(name, "")) for name in ("name", "email")} | {"ccus": given.get("ccus") or "0"}
        made = await call.ask("cloud.user.add", user, deeds.options_of(given))
        return {"notice": f"{user['name']} was added; the password, shown only now: {made.get('password', '')}"}

    async def _products(self, call: Call, _given: Given) -> Given:
        return {"rows": await call.ask("cloud.product.list", {}), "change": call.actor.role in ADMINISTER}

    async def _add_product(self, call: Call, given: Given) -> str:
        spec = {name: given[name] for name in ("kind", "value", "name", "unit", "price") if given.get(name)}
        await call.ask("cloud.product.add", spec, deeds.options_of(given))
        return "/cloud/products"


def _home(call: Call) -> str:
    return "/requests" if call.actor.role is Role.CLOUD else "/cloud/requests"
