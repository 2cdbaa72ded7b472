"""The parts of a daemon, as verbs see them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qrmd.auth import Authenticator
from qrmd.auth.limits import Haste
from qrmd.backups import Backups
from qrmd.deployment.lifecycle import Lifecycle
from qrmd.deployment.reach import Reach
from qrmd.hooks.calls import Hooks
from qrmd.model import Actor
from qrmd.operations.call import Call, dispatch
from qrmd.operations.registry import Registry
from qrmd.outbox import Outbox
from qrmd.plugins.lifecycle import Plugins
from qrmd.plugins.registries import Registries
from qrmd.settings import Settings
from qrmd.store.capacity import Capacity
from qrmd.store.database import Store
from qrmd.threads import Lanes
from qrmd.workflow.engine import Engine

T = TypeVar("T")


@dataclass(slots=True)
class Core:
    """Everything a verb may reach. Built in ``daemon.py``; nothing in here is global.

    Attributes:
        import_dirs: where files of the server may be taken from as images and kernels (none: nowhere).
        problems: why the daemon is not ready, as sentences (empty: it is).
    """

    installation: str
    store: Store
    hooks: Hooks
    registries: Registries
    lanes: Lanes
    engine: Engine
    outbox: Outbox
    plugins: Plugins
    auth: Authenticator
    backups: Backups
    capacity: Capacity
    lifecycle: Lifecycle
    reach: Reach
    import_dirs: tuple[Path, ...] = ()
    starting: list[str] = field(default_factory=list)
    haste: Haste = field(default_factory=lambda: Haste(time.monotonic))

    @property
    def verbs(self) -> Registry:
        """The verbs there are now."""
        return self.registries.verbs

    @property
    def settings(self) -> Settings:
        """The settings there are now."""
        return self.registries.settings

    def problems(self) -> list[str]:
        """Why the daemon is not ready, one sentence each."""
        found = list(self.starting)
        if self.store.disk_full:
            found.append(f"the disk of {self.store.path} is full: new work is refused")
        if self.lanes.abandoned:
            found.append(f"{self.lanes.abandoned} calls to hosts never ended")
        return found

    async def ask(
        self,
        actor: Actor,
        verb: str,
        arguments: Mapping[str, Any],
        options: Mapping[str, Any],
        parent: int | None = None,
    ) -> Any:
        """Call a verb with arguments by name; ``options`` go to its last parameter."""
        found = self.verbs.get(verb)
        given: list[Any] = []
        for parameter in found.parameters:
            if parameter.name == "options" and found.changes:
                given.append({**arguments.get("options", {}), **options})
            elif parameter.name in arguments:
                given.append(arguments[parameter.name])
            else:
                given.append(parameter.default)
        return await dispatch(self, actor, verb, given, parent)

    def call(self, actor: Actor, verb: str = "") -> Call:
        """A call context for somebody, for pages that make several calls."""
        return Call(self, actor, verb)
