"""Web pages: the portal of cloud users, and the cloud's part of the administration. They know verbs only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrmd.api import ADMINISTER, LOOK, Call, InvalidInput, Page, QrmdError, Role, Services, deeds, names
from qrmd_cloud.children import Core
from qrmd_cloud.states import RequestState

TEMPLATES = Path(__file__).parent / "templates"
USER = frozenset({Role.CLOUD})
Given = Mapping[str, Any]
ORDER_FIELDS = (
    "image", "cpus", "memory_mb", "disk_mb", "nics", "quantity", "type", "start", "stop", "hostname", "ssh_key",
    "reason",
)  # fmt: skip
RECENT = 200
PER_PAGE = 100


def order_of(given: Given) -> dict[str, Any]:
    """The request that a form means; fields left empty are left out."""
    spec: dict[str, Any] = {name: given[name] for name in ORDER_FIELDS if given.get(name)}
    return spec | {name: True for name in ("ha", "partial") if given.get(name)}


def check_named(given: Given) -> None:
    """Refuse what can't be taken back unless the object's name was typed. Raises InvalidInput."""
    names.check_confirmed(str(given.get("named", "")), str(given.get("confirm", "")))


def number(given: Given, name: str) -> int:
    """A whole number of a form. Raises InvalidInput."""
    text = str(given.get(name, ""))
    if not text.isdecimal() or len(text) > 15:
        raise InvalidInput(f"{name} must be a whole number", field=name)
    return int(text)


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

        given_up = {"cancel": self._cancel, "deprovision": self._deprovision, "extend": self._extend}
        servers = {verb: self._operate(verb) for verb in ("start", "stop", "restart")}
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

        answers = {
            "approve": self._approve,
            "deny": self._deny,
            "cancel": self._cancel,
            "deprovision": self._deprovision,
            "extend": self._extend,
        }
        users = {"add": self._add_user, "ccus": self._set_ccus, "remove": self._remove_user}
        prices = {"add": self._add_product, "update": self._update_product, "remove": self._remove_product}
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

    def _operate(self, verb: str) -> Any:
        async def act(call: Call, given: Given) -> str:
            await call.ask(f"cloud.server.{verb}", number(given, "server"), deeds.options_of(given))
            return "/servers"

        return act

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

    async def _cancel(self, call: Call, given: Given) -> str:
        check_named(given)
        return await self._said(call, given, "cancel")

    async def _deprovision(self, call: Call, given: Given) -> str:
        check_named(given)
        return await self._said(call, given, "deprovision")

    async def _approve(self, call: Call, given: Given) -> str:
        return await self._said(call, given, "approve")

    async def _deny(self, call: Call, given: Given) -> str:
        return await self._said(call, given, "deny")

    async def _extend(self, call: Call, given: Given) -> str:
        await call.ask("cloud.request.extend", given["id"], str(given.get("stop", "")), deeds.options_of(given))
        return f"{_home(call)}/{given['id']}"

    async def _said(self, call: Call, given: Given, verb: str) -> str:
        await call.ask(f"cloud.request.{verb}", given["id"], deeds.options_of(given))
        return f"{_home(call)}/{given['id']}"

    # ------------------------------------------------------------ users and prices

    async def _users(self, call: Call, _given: Given) -> Given:
        return {"rows": await call.ask("cloud.user.list", {}), "made": None, "change": call.actor.role in ADMINISTER}

    async def _add_user(self, call: Call, given: Given) -> Given:
        user = {name: str(given.get(name, "")) for name in ("name", "email")} | {"ccus": given.get("ccus") or "0"}
        made = await call.ask("cloud.user.add", user, deeds.options_of(given))
        return {"notice": f"{user['name']} was added; the password, shown only now: {made.get('password', '')}"}

    async def _set_ccus(self, call: Call, given: Given) -> str:
        await call.ask(
            "cloud.user.set_ccus", number(given, "user"), str(given.get("ccus", "")), deeds.options_of(given)
        )
        return "/cloud/users"

    async def _remove_user(self, call: Call, given: Given) -> str:
        check_named(given)
        await call.ask("cloud.user.remove", number(given, "user"), deeds.options_of(given))
        return "/cloud/users"

    async def _products(self, call: Call, _given: Given) -> Given:
        return {"rows": await call.ask("cloud.product.list", {}), "change": call.actor.role in ADMINISTER}

    async def _add_product(self, call: Call, given: Given) -> str:
        spec = {name: given[name] for name in ("kind", "value", "name", "unit", "price") if given.get(name)}
        await call.ask("cloud.product.add", spec, deeds.options_of(given))
        return "/cloud/products"

    async def _update_product(self, call: Call, given: Given) -> str:
        change = {"price": str(given.get("price", ""))}
        await call.ask("cloud.product.update", number(given, "product"), change, deeds.options_of(given))
        return "/cloud/products"

    async def _remove_product(self, call: Call, given: Given) -> str:
        check_named(given)
        await call.ask("cloud.product.remove", number(given, "product"), deeds.options_of(given))
        return "/cloud/products"


def _home(call: Call) -> str:
    return "/requests" if call.actor.role is Role.CLOUD else "/cloud/requests"
