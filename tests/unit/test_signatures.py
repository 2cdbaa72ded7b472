"""Every verb of the core can be described, explained and made a command of."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Any

import pytest

from qrmd import operations
from qrmd.cli.commands import make_command
from qrmd.operations import signature
from qrmd.operations.registry import Verb, collect
from qrmd.web.marshal import dump_result

MODULES = [
    importlib.import_module(f"{operations.__name__}.{each.name}") for each in pkgutil.iter_modules(operations.__path__)
]
VERBS = {
    each.name: each for module in MODULES for each in collect(module) if each.function.__module__ == module.__name__
}
TYPES = {"integer", "number", "boolean", "string", "ref", "array", "struct", "any"}


def _check(parameter: dict[str, Any]) -> None:
    assert parameter["type"] in TYPES, parameter
    for field in parameter.get("fields", ()):
        _check(field)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_each_verb_is_described(verb: Verb) -> None:
    told = signature.describe(verb)
    for parameter in told["parameters"]:
        _check(parameter)
    json.dumps(told)
    dump_result(told)
    assert signature.help_text(verb).startswith(f"{verb.name}(")
    assert len(signature.signatures(verb)) >= 1
    if verb.changes:
        assert told["parameters"][-1]["name"] == "options"


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_each_verb_makes_a_command_without_clashes(verb: Verb) -> None:
    command = make_command(json.loads(json.dumps(signature.describe(verb))), verb.name.rpartition(".")[2])
    options = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    assert len(options) == len(set(options)), options
    names = [parameter.name for parameter in command.params]
    assert len(names) == len(set(names)), names


def test_what_starts_a_workflow_says_so() -> None:
    for name in ("appliance.start", "appliance.stop", "image.clone", "image.import"):
        assert signature.describe(VERBS[name])["returns"] == "workflow"
