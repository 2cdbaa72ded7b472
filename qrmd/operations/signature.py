"""Verbs described as data and text, from their type hints and docstrings. Pure."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from qrmd.operations.registry import Verb
from qrmd.operations.schema import Length, Range, Served

_ATTRIBUTE = re.compile(r"^ {4,8}(\w+): (.*)$")
_WORKFLOW = re.compile(r"(the workflow'?s? id|id of the workflow|workflow's id)", re.IGNORECASE)
_XMLRPC = {"integer": "int", "number": "double", "boolean": "boolean", "struct": "struct", "array": "array"}


@cache
def describe(verb: Verb) -> dict[str, Any]:
    """A verb as a struct.

    ``{"name", "help", "changes", "roles", "plugin", "returns", "parameters": [parameter]}``. A parameter (and
    each of a struct's ``fields``): ``{"name", "type", "required", "default", "help", …}`` with type ``integer``,
    ``number``, ``boolean``, ``string``, ``ref`` (id or name), ``array`` (``items``), ``struct`` (``fields``, when
    they are known), ``any``; and ``least``, ``most``, ``longest``, ``choices`` where they are known.
    ``returns`` is ``workflow`` when the answer is the id of a workflow that one can wait for.
    """
    return {
        "name": verb.name,
        "help": verb.documentation,
        "changes": verb.changes,
        "roles": sorted(verb.roles),
        "plugin": verb.plugin,
        "returns": "workflow" if verb.changes and _WORKFLOW.search(verb.documentation) else _returned(verb),
        "parameters": [_parameter(each.name, each.hint, each.required, each.default, "") for each in verb.parameters],
    }


def with_choices(told: dict[str, Any], served: Mapping[str, list[str]]) -> dict[str, Any]:
    """A described verb, in which parameters that are types name those served now (``qrm.types``) as ``choices``."""
    found = dict(told)
    for part in {"parameters", "fields"} & set(told):
        found[part] = [with_choices(each, served) for each in told[part]]
    if "served" in found:
        kind, *also = found.pop("served")
        found["choices"] = [*also, *served[kind]]
    return found


def help_text(verb: Verb) -> str:
    """What ``system.methodHelp`` says."""
    told = describe(verb)
    lines = [_usage(told), "", told["help"], ""]
    for parameter in told["parameters"]:
        lines += _lines(parameter, "")
    lines += ["", f"For: {', '.join(told['roles'])}." + (" It changes something." if verb.changes else "")]
    return "\n".join(lines)


def signatures(verb: Verb) -> list[list[str]]:
    """What ``system.methodSignature`` says: one signature per number of arguments."""
    told = describe(verb)
    names = [_xmlrpc(each["type"]) for each in told["parameters"]]
    least = sum(1 for each in told["parameters"] if each["required"])
    result = _xmlrpc(told["returns"])
    return [[result, *names[:count]] for count in range(len(names), least - 1, -1)]


def _usage(told: dict[str, Any]) -> str:
    shown = [each["name"] if each["required"] else f"[{each['name']}]" for each in told["parameters"]]
    return f"{told['name']}({', '.join(shown)})"


def _lines(parameter: dict[str, Any], indent: str) -> list[str]:
    kind = parameter["type"] + ("" if parameter["required"] else ", optional")
    lines = [f"{indent}{parameter['name']} ({kind})" + (f": {parameter['help']}" if parameter["help"] else "")]
    for field in parameter.get("fields", ()):
        lines += _lines(field, indent + "  ")
    return lines


def _xmlrpc(kind: str) -> str:
    return _XMLRPC.get(kind, "int" if kind == "workflow" else "string")


def _returned(verb: Verb) -> str:
    hint = get_type_hints(verb.function).get("return", Any)
    kind: str = _typed(hint)["type"]
    return kind


def _parameter(name: str, hint: Any, required: bool, default: Any, help_: str) -> dict[str, Any]:
    told = {"name": name, "required": required, "help": help_, **_typed(hint)}
    if not required and isinstance(default, str | int | float | bool) and not isinstance(default, Enum):
        told["default"] = default
    return told


def _typed(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin is Annotated:
        base, *limits = get_args(hint)
        return {**_typed(base), **_limits(limits)}
    if origin is types.UnionType:
        members = [each for each in get_args(hint) if each is not types.NoneType]
        if set(members) == {int, str}:
            return {"type": "ref"}
        return _typed(members[0]) if len(members) == 1 else {"type": "any"}
    if origin in {tuple, list}:
        return {"type": "array", "items": _typed(get_args(hint)[0])["type"]}
    if origin is dict or hint is dict:
        return {"type": "struct"}
    return _plain(hint)


def _plain(hint: Any) -> dict[str, Any]:
    if is_dataclass(hint):
        return {"type": "struct", "fields": _fields(hint)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"type": "string", "choices": [str(each.value) for each in hint]}
    return {"type": {int: "integer", float: "number", str: "string", bool: "boolean"}.get(hint, "any")}


def _limits(limits: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for limit in limits:
        if isinstance(limit, Range):
            found |= {"least": _whole(limit.least), "most": _whole(limit.most)}
        elif hasattr(limit, "allowed"):
            found["choices"] = list(limit.allowed)
        elif isinstance(limit, Length):
            found["longest"] = limit.most
        elif isinstance(limit, Served):
            found["served"] = [limit.kind, *limit.also]
    return found


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def _fields(cls: Any) -> list[dict[str, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    told = _attributes(cls.__doc__ or "")
    return [
        _parameter(
            each.name,
            hints[each.name],
            each.default is MISSING and each.default_factory is MISSING,
            None if each.default is MISSING else each.default,
            told.get(each.name, ""),
        )
        for each in fields(cls)
    ]


def _attributes(documentation: str) -> dict[str, str]:
    """The ``Attributes:`` section of a docstring."""
    found: dict[str, str] = {}
    last = ""
    for line in documentation.partition("Attributes:")[2].splitlines():
        match = _ATTRIBUTE.match(line)
        if match:
            last = match[1]
            found[last] = match[2]
        elif last and line.strip():
            found[last] += " " + line.strip()
    return found
