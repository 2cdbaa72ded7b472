"""What can be done to an object: forms made from the verbs' own descriptions, and why something can't be done now."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrmd.errors import InvalidInput, NotFound
from qrmd.names import check_confirmed
from qrmd.operations import signature
from qrmd.operations.call import Call
from qrmd.states import MACHINES
from qrmd.web.labels import show_label

Given = Mapping[str, Any]
Act = Callable[[Call, Given], Awaitable[str | Mapping[str, Any]]]

_VERB = re.compile(r"\b[a-z]+\.[a-z_]+\b(?: (?:on|off)\b)?")
_COMMON = frozenset({"key", "reason", "dry_run"})
_SETTLED = frozenset({"stopped", "active", "error", "paused", "idle", "up", "maintenance", "new"})
_REFS = ("image", "storage", "host", "kernel", "network")


@dataclass(frozen=True, slots=True)
class Deed:
    """One verb as an object's page offers it.

    Attributes:
        name: of the form's action.
        label: of its button.
        edge: how the state table names it, where that is not the verb's name.
        states: in which it is possible, where the state table does not say.
        fixed: answers that the form does not ask for, by name of the field.
        skip: fields that the form does not show.
        choices: what a field takes, where the verb's description does not say.
        plans: whether its dry run is offered.
        danger: whether something is lost by it: its dry run is offered, and the object's name asked for.
        to: where it leads to, ``{id}`` is what the verb returned; empty: to the workflow that it began, or back.
        follow: whether it leads to that workflow.
    """

    name: str
    verb: str
    label: str
    edge: str = ""
    states: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    plans: bool = False
    danger: bool = False
    to: str = ""
    follow: bool = True
    hint: str = ""


def options_of(given: Given, **more: Any) -> dict[str, Any]:
    """Options of a changing verb from a form: key, reason, dry_run."""
    return {
        "key": str(given.get("key", ""))[:200],
        "reason": str(given.get("reason", "")),
        "dry_run": "plan" in given,
        **more,
    }


def check_named(given: Given) -> None:
    """Refuse what loses something unless it is only planned, or the object's name was typed. Raises InvalidInput."""
    if "plan" not in given:
        check_confirmed(str(given.get("named", "")), str(given.get("confirm", "")))


# ------------------------------------------------------------ possible, and if not, why


def obstacle(call: Call, deed: Deed, kind: str, state: str, workflow: Mapping[str, Any] | None) -> str:
    """Why a deed is not possible now; empty: it is.

    Args:
        kind: of the state machine; empty: it has no states.
        workflow: the live one of the object.
    """
    try:
        verb = call.core.verbs.get(deed.verb)
    except NotFound:
        return "no started plugin offers it"
    if call.actor.role not in verb.roles:
        return f"your role {call.actor.role} may not"
    states = deed.states or sources(kind, deed.edge or deed.verb)
    if states and state not in states:
        return f"it is {_words(state)}; possible when {_either(states)}"
    if workflow and (state in _SETTLED or not states):
        return f"workflow {workflow['id']} ({workflow['operation']}) is under way"
    return ""


def sources(kind: str, edge: str) -> frozenset[str]:
    """States in which the state table has an edge that names this verb."""
    if kind not in MACHINES:
        return frozenset()
    return frozenset(str(each.source) for each in MACHINES[kind][1] if edge in _VERB.findall(each.reason))


def _either(states: frozenset[str]) -> str:
    return " or ".join(sorted(map(_words, states)))


def _words(state: str) -> str:
    return state.replace("_", " ")


# ------------------------------------------------------------ forms


async def offer(
    call: Call,
    deeds: Sequence[Deed],
    *,
    kind: str = "",
    state: str = "",
    workflow: Mapping[str, Any] | None = None,
    subject: Sequence[str] = (),
    current: Mapping[str, Any] | None = None,
    named: str = "",
) -> list[dict[str, Any]]:
    """The deeds as templates show them: ``{"name", "label", "why_not", "fields", "plans", "danger", "hint", "named"}``.

    Args:
        subject: names of the parameters that the page itself knows.
        current: the object, whose values are shown in the fields of the same name.
        named: what is to be typed to confirm that this object is meant.
    """
    offered = []
    for deed in deeds:
        why_not = obstacle(call, deed, kind, state, workflow)
        shown = {"name": deed.name, "label": deed.label, "danger": deed.danger, "hint": deed.hint,
                 "plans": deed.plans or deed.danger, "named": named if deed.danger else ""}  # fmt: skip
        fields = [] if why_not else await fields_of(call, deed, subject, current or {})
        offered.append({**shown, "why_not": why_not, "fields": fields})
    return offered


async def fields_of(call: Call, deed: Deed, subject: Sequence[str], current: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fields of a deed's form: what the verb's description says, with what there is to choose from."""
    fields = []
    described = signature.with_choices(signature.describe(call.core.verbs.get(deed.verb)), call.core.registries.types())
    for path, told in _asked(described, deed, subject):
        name = told["name"]
        shown = {**told, "path": path, "label": show_label(name)}
        shown["value"] = _shown(current.get(name, told.get("default", "")))
        noun = name.removesuffix("s")
        if noun in _REFS and (told["type"] == "ref" or told.get("items") in {"ref", "any"}):
            shown["options"] = await call.ask(f"{noun}.list", {"fields": ["id", "name"]})
        elif path in deed.choices:
            shown["choices"] = list(deed.choices[path])
        fields.append(shown)
    return fields


def _asked(described: dict[str, Any], deed: Deed, subject: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """(name in the form, description) of everything that a person is asked for."""
    asked: list[tuple[str, dict[str, Any]]] = []
    for parameter in described["parameters"]:
        if parameter["name"] in subject or parameter["name"] in deed.fixed:
            continue
        if "fields" in parameter:
            asked += [(f"{parameter['name']}.{each['name']}", each) for each in parameter["fields"]]
        elif parameter["name"] != "options":
            asked.append((parameter["name"], parameter))
    hidden = {*deed.skip, *deed.fixed, *(f"options.{name}" for name in (*_COMMON, "confirm"))}
    return [(path, told) for path, told in asked if path not in hidden]


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return "" if value is None else value


async def run(call: Call, deed: Deed, given: Given, subject: Mapping[str, Any]) -> Any:
    """Call a deed's verb with what the form says."""
    verb = call.core.verbs.get(deed.verb)
    told = signature.describe(verb)["parameters"]
    arguments = [_argument(each, deed, given, subject) for each in told]
    defaults = [each.default for each in verb.parameters]
    filled = [default if value is None else value for value, default in zip(arguments, defaults, strict=True)]
    return await call.ask(deed.verb, *filled)


def _argument(told: dict[str, Any], deed: Deed, given: Given, subject: Mapping[str, Any]) -> Any:
    name = told["name"]
    if name in subject:
        return subject[name]
    if name in deed.fixed:
        return deed.fixed[name]
    if "fields" not in told:
        return _value(told, name, given, present=name in given)
    struct = options_of(given) if name == "options" else {}
    for each in told["fields"]:
        path = f"{name}.{each['name']}"
        if name == "options" and each["name"] in _COMMON:
            continue
        if path in deed.fixed:
            struct[each["name"]] = deed.fixed[path]
        elif path not in deed.skip:
            value = _value(each, path, given, present=True)
            if value is not None:
                struct[each["name"]] = value
    return struct


def _value(told: dict[str, Any], path: str, given: Given, *, present: bool) -> Any:
    """What a field holds, None when it is empty and may be left off."""
    match told["type"]:
        case "boolean":
            return path in given if present else None
        case "array":
            chosen = given.get(f"{path}[]")
            return chosen if chosen is not None else _lines(str(given.get(path, "")))
        case "number":
            return _number(path, str(given.get(path, "")).strip())
        case _:
            text = str(given.get(path, ""))
            text = text if told["type"] == "string" else text.strip()
            if text == "" and not told["required"]:
                return None
            return text


def _number(path: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{path} must be a number", field=path) from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


# ------------------------------------------------------------ actions of a page


def actions(deeds: Sequence[Deed], parameter: str = "", part: str = "id", path: str = "") -> dict[str, Act]:
    """The actions of a page that offers these deeds.

    Args:
        parameter: of the verbs, takes what the page's path or the form names in ``part`` (``row``: ``ui.act``'s).
        path: of the page, with ``{part}``; where a deed without ``to`` leads.
    """
    return {deed.name: _action(deed, parameter, part, path) for deed in deeds}


def _action(deed: Deed, parameter: str, part: str, path: str) -> Act:
    async def act(call: Call, given: Given) -> str | Mapping[str, Any]:
        subject = {parameter: given.get(part, "")} if parameter else {}
        if deed.danger:
            check_named(given)
            given = {**given, "options.confirm": given.get("named", "")}
        answer = await run(call, deed, given, subject)
        if "plan" in given:
            return {"plan": answer, "planned": deed.label, "confirmed": deed.danger}
        verb = call.core.verbs.get(deed.verb)
        follows = deed.follow and not deed.to and signature.describe(verb)["returns"] == "workflow"
        if follows and isinstance(answer, int):
            return f"/workflows/{answer}"
        return (deed.to or path).format(**{**given, **({"id": answer} if deed.to else {})})

    return act
