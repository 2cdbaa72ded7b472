"""Users of the administration, and everybody's API tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import ADMINISTER, CLOUD_USE, LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed, options_of
from qrmd.web.gather import all_of
from qrmd.web.render import TEMPLATES

ROLES = ("administrator", "operator", "readonly")
ADD = (Deed("add", "user.add", "Add a user", choices={"role": ROLES}, to="/users"),)
CHANGE = (
    Deed("role", "user.set_role", "Set role"),
    Deed("password", "user.set_password", "Set password"),
    Deed("remove", "user.remove", "Remove", danger=True),
)
REVOKE = (Deed("revoke", "token.revoke", "Revoke", danger=True),)


async def show_users(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """All of them."""
    rows, adding = await all_of((call.ask("user.list", {}), deeds.offer(call, ADD)))
    return {"rows": rows, "deeds": adding, "roles": ROLES}


async def show_tokens(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without their secrets."""
    return {"rows": await call.ask("token.list", {}), "made": None}


async def create_token(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make one; its secret is on this answer and nowhere else."""
    options = options_of(given, dry_run=False)
    made = await call.ask("token.create", str(given.get("name", "")), str(given.get("expires", "")), options)
    return {"made": made, "values": {}}


def _tokens(site: str) -> Page:
    roles = LOOK if site == "admin" else CLOUD_USE
    acts = {"create": create_token, **deeds.actions(REVOKE, "token", "row", "/tokens")}
    return Page("/tokens", "API tokens", "Administration" if site == "admin" else "Account", roles, TEMPLATES,
                "tokens.html", show_tokens, acts, site)  # fmt: skip


PAGES = (
    Page(
        "/users", "Users", "Administration", ADMINISTER, TEMPLATES, "users.html", show_users,
        {**deeds.actions(ADD), **deeds.actions(CHANGE, "user", "row", "/users")},
    ),
    _tokens("admin"),
    _tokens("portal"),
)  # fmt: skip
