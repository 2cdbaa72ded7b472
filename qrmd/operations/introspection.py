"""Verbs about the verbs: what there is for the caller, and how it is called."""

from __future__ import annotations

from typing import Annotated, Any

from qrmd.errors import NotFound
from qrmd.operations import signature
from qrmd.operations.call import Call
from qrmd.operations.registry import ANYBODY, Verb, verb
from qrmd.operations.schema import Length

Method = Annotated[str, Length(200)]


@verb("system.listMethods", roles=ANYBODY)
async def list_methods(call: Call) -> list[str]:
    """Names of all methods that you may call."""
    return [each.name for each in _granted(call)]


@verb("system.methodHelp", roles=ANYBODY)
async def method_help(call: Call, method: Method) -> str:
    """What a method does, its parameters and who may call it."""
    return signature.help_text(_one(call, method))


@verb("system.methodSignature", roles=ANYBODY)
async def method_signature(call: Call, method: Method) -> list[list[str]]:
    """Signatures of a method: type of the result, then of the parameters; optional ones may be left off."""
    return signature.signatures(_one(call, method))


@verb("system.describe", roles=ANYBODY)
async def describe(call: Call) -> list[dict[str, Any]]:
    """All methods that you may call as structs: what a command line or a form can be made from."""
    types = call.core.registries.types()
    return [signature.with_choices(signature.describe(each), types) for each in _granted(call)]


def _granted(call: Call) -> list[Verb]:
    return [each for each in call.core.verbs.all() if call.actor.role in each.roles]


def _one(call: Call, name: str) -> Verb:
    found: Verb = call.core.verbs.get(name)
    if call.actor.role not in found.roles:
        raise NotFound(f"there is no verb {name!r:.80} for you", hint="system.listMethods names them")
    return found
