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


async def show_users(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """All of them."""
    rows, adding = await all_of((call.ask("user.list", {}), deeds.offer(call, ADD)))
    return {"rows": rows, "deeds": adding, "roles": ROLES}


async def set_role(call: Call, given: Mapping[str, Any]) -> str:
    """Another role."""
    await call.ask("user.set_role", str(given.get("user", "")), str(given.get("role", "")), options_of(given))
    return "/users"


async def set_password(call: Call, given: Mapping[str, Any]) -> str:
    """Another password; the user's sessions end."""
    await call.ask("user.set_password", str(given.get("user", "")), str(given.get("password", "")), options_of(given))
    return "/users"


async def remove(call: Call, given: Mapping[str, Any]) -> str:
    """No longer a user."""
    deeds.check_named(given)
    await call.ask("user.remove", str(given.get("user", "")), options_of(given))
    return "/users"


async def show_tokens(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without their secrets."""
    return {"rows": await call.ask("token.list", {}), "made": None}


async def create_token(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make one; its secret is on this answer and nowhere else."""
    options = options_of(given, dry_run=False)
    made = await call.ask("token.create", str(given.get("name", "")), str(given.get("expires", "")), options)
    return {"made": made, "values": {}}


async def revoke_token(call: Call, given: Mapping[str, Any]) -> str:
    """Refused from now on."""
    deeds.check_named(given)
    await call.ask("token.revoke", str(given.get("id", "")), options_of(given))
    return "/tokens"


def _tokens(site: str) -> Page:
    roles = LOOK if site == "admin" else CLOUD_USE
    acts: dict[str, deeds.Act] = {"create": create_token, "revoke": revoke_token}
    return Page("/tokens", "API tokens", "Administration" if site == "admin" else "Account", roles, TEMPLATES,
                "tokens.html", show_tokens, acts, site)  # fmt: skip


PAGES = (
    Page(
        "/users", "Users", "Administration", ADMINISTER, TEMPLATES, "users.html", show_users,
        {**deeds.actions(ADD), "role": set_role, "password": set_password, "remove": remove},
    ),
    _tokens("admin"),
    _tokens("portal"),
)  # fmt: skip
