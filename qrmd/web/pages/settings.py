"""Settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.errors import InvalidInput
from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.deeds import options_of
from qrmd.web.render import TEMPLATES

Given = Mapping[str, Any]


async def show(call: Call, _given: Given) -> Given:
    """Groups by the first word of the name."""
    known: dict[str, dict[str, Any]] = await call.ask("settings.get")
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, each in known.items():
        kind = "boolean" if isinstance(each["default"], bool) else "integer" if _is_int(each) else "string"
        groups.setdefault(name.partition(".")[0], []).append({"name": name, "type": kind, **each})
    return {"groups": groups}


def _is_int(each: Mapping[str, Any]) -> bool:
    return isinstance(each["default"], int) and not isinstance(each["default"], bool)


async def save(call: Call, given: Given) -> str | Given:
    """Set what differs; an empty secret stays as it is unless it is to be taken away."""
    known: dict[str, dict[str, Any]] = await call.ask("settings.get")
    group = str(given.get("group", ""))
    changed = {}
    for name, each in known.items():
        if name.partition(".")[0] == group:
            value = _value(name, each, given)
            if value is not None and value != each["value"]:
                changed[name] = value
    if not changed:
        return {"notice": "Nothing differs from what is set."}
    for name, value in changed.items():
        await _check(call, name, value)
    await call.ask("settings.set", changed, options_of(given))
    return "/settings"


async def _check(call: Call, name: str, value: Any) -> None:
    """Refuse a value by the name of its field. Raises InvalidInput."""
    try:
        await call.ask("settings.set", {name: value}, {"dry_run": True})
    except InvalidInput as error:
        raise InvalidInput(error.message, hint=error.hint, field=name) from None


def _value(name: str, each: Mapping[str, Any], given: Given) -> Any:
    """What the form says, None: leave it."""
    if each["secret"]:
        if f"clear.{name}" in given:
            return "" if each["value"] else None
        return given.get(f"secret.{name}") or None
    if isinstance(each["default"], bool):
        return name in given
    text = str(given.get(name, "")).strip()
    if not _is_int(each):
        return text
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"{name} must be an integer", field=name) from None


PAGES = (Page("/settings", "Settings", "Administration", LOOK, TEMPLATES, "settings.html", show, {"save": save}),)
