"""Verbs as data: from one table come XML-RPC methods, command line, authorisation and documentation."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_type_hints

from qrmd.errors import NotFound
from qrmd.model import Role

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

LOOK = frozenset({Role.ADMINISTRATOR, Role.OPERATOR, Role.READONLY})
OPERATE = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
ADMINISTER = frozenset({Role.ADMINISTRATOR})
CLOUD_USE = frozenset({Role.ADMINISTRATOR, Role.OPERATOR, Role.READONLY, Role.CLOUD})
CLOUD_CHANGE = frozenset({Role.ADMINISTRATOR, Role.OPERATOR, Role.CLOUD})
ANYBODY = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One positional parameter: its name and its type hint (see ``operations.schema``)."""

    name: str
    hint: Any
    required: bool
    default: Any = None


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the interface.

    Attributes:
        name: ``noun.verb``.
        function: ``async function(call, *parameters) -> JSON-able``.
        roles: who may call it; everybody else gets Forbidden. There is no default.
        changes: whether it changes anything; then its last parameter is an ``Options`` struct.
        parameters: positional, from the signature after ``call``.
        documentation: the docstring.
        plugin: who brought it.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    roles: frozenset[Role]
    changes: bool
    parameters: tuple[Parameter, ...]
    documentation: str
    plugin: str = "core"

    def owned_by(self, plugin: str) -> Verb:
        """The same verb, signed."""
        return replace(self, plugin=plugin)


def make_verb(name: str, function: Callable[..., Awaitable[Any]], *, roles: frozenset[Role], changes: bool) -> Verb:
    """Build a verb from an async function ``(call, …)`` with annotated parameters and a docstring."""
    hints = get_type_hints(function, include_extras=True)
    given = list(inspect.signature(function).parameters.values())
    start = next(index for index, each in enumerate(given) if each.name == "call") + 1
    parameters = tuple(
        Parameter(
            each.name,
            hints[each.name],
            each.default is inspect.Parameter.empty,
            None if each.default is inspect.Parameter.empty else each.default,
        )
        for each in given[start:]
    )
    documentation = inspect.cleandoc(function.__doc__ or "")
    assert documentation, f"verb {name} is not documented"  # noqa: S101 - a programming error
    return Verb(name, function, roles, changes, parameters, documentation)


def verb(name: str, *, roles: frozenset[Role], changes: bool = False) -> Callable[[F], F]:
    """Declare a verb: ``@verb("host.get", roles=LOOK)``; ``collect`` finds it."""

    def mark(function: F) -> F:
        function.qrmd_verb = make_verb(name, function, roles=roles, changes=changes)  # type: ignore[attr-defined]
        return function

    return mark


def collect(*homes: object) -> list[Verb]:
    """All declared verbs of modules or instances (an instance's verbs are bound to it)."""
    found: list[Verb] = []
    for home in homes:
        for name in dir(home):
            member = getattr(home, name)
            declared: Verb | None = getattr(member, "qrmd_verb", None)
            if declared is not None:
                found.append(replace(declared, function=member))
    return found


class Registry:
    """The verbs there are now; plugins' verbs appear and vanish while the daemon runs."""

    def __init__(self) -> None:
        self._verbs: dict[str, Verb] = {}

    def add(self, verbs: list[Verb], plugin: str = "core") -> None:
        """Add verbs. A name that is taken is a programming error of the plugin.

        Raises:
            ValueError: the name is taken.
        """
        for each in verbs:
            if each.name in self._verbs:
                raise ValueError(f"verb {each.name} of plugin {plugin} is taken by {self._verbs[each.name].plugin}")
        self._verbs.update({each.name: each.owned_by(plugin) for each in verbs})

    def remove(self, plugin: str) -> None:
        """Forget a plugin's verbs."""
        self._verbs = {name: each for name, each in self._verbs.items() if each.plugin != plugin}

    def get(self, name: str) -> Verb:
        """The verb.

        Raises:
            NotFound: there is none of that name.
        """
        try:
            return self._verbs[name]
        except KeyError:
            raise NotFound(
                f"there is no verb {name!r:.80}", hint="system.listMethods names them; is its plugin started?"
            ) from None

    def all(self) -> list[Verb]:
        """All verbs by name."""
        return [self._verbs[name] for name in sorted(self._verbs)]
