"""What ``register_*`` hooks return, where it is not a driver or an action."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qrmd.model import Role
from qrmd.states import Edge

if TYPE_CHECKING:
    from qrmd.operations.call import Call


@dataclass(frozen=True, slots=True)
class StateMachine:
    """States of a plugin's own objects.

    Attributes:
        kind: as in a subject, ``cloud_request``.
        table: of the plugin, with columns ``id`` and ``state``.
    """

    kind: str
    table: str
    states: type[StrEnum]
    edges: tuple[Edge, ...]


class Service(Protocol):
    """Something that runs while its plugin is started."""

    @property
    def name(self) -> str:
        """For logs and the plugin's page."""
        ...

    async def start(self) -> None:
        """Begin. Raising quarantines the plugin."""
        ...

    async def stop(self) -> None:
        """End; also after a failed start."""
        ...


@dataclass(frozen=True, slots=True)
class Periodic:
    """A function the daemon calls every ``interval`` seconds, never twice at once; a failure is an event."""

    name: str
    interval: float
    function: Callable[[], Awaitable[None]]

    async def start(self) -> None:
        """The daemon drives it."""

    async def stop(self) -> None:
        """The daemon drives it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A web page.

    Attributes:
        path: ``/cloud/requests`` or with parts ``/cloud/requests/<int:id>``.
        title: for menu and heading.
        section: of the menu; empty: not in the menu.
        roles: who may see it; nobody else learns that it exists.
        site: ``admin`` (7443) or ``portal`` (7444).
        templates: the plugin's template directory.
        template: file in it.
        context: verbs are called through ``call``; returns what the template sees.
        actions: form actions by name (``POST path`` with field ``action``): returns the path to go to next, or
            names to show the page again with at once (a plan, a secret shown once).
    """

    path: str
    title: str
    section: str
    roles: frozenset[Role]
    templates: Path
    template: str
    context: Callable[[Call, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    actions: Mapping[str, Callable[[Call, Mapping[str, Any]], Awaitable[str | Mapping[str, Any]]]]
    site: str = "admin"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a plugin says of itself before any of its code runs."""

    name: str
    title: str
    description: str
    kind: str
    requires: Sequence[str] = ()
