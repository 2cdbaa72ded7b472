"""The plugins that run: constructed, registered all or nothing, and taken out again without a trace."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmd import config
from qrmd.api import Plugin
from qrmd.errors import PluginFault
from qrmd.hooks.calls import Hooks
from qrmd.outbox import Outbox
from qrmd.plugins.distributions import Installed
from qrmd.plugins.registries import NAMES, Offered, Registries
from qrmd.plugins.services import Ask, PluginServices, Running
from qrmd.store.database import Store
from qrmd.threads import Lanes
from qrmd.timers import Timers

log = logging.getLogger(__name__)

BUILT_IN = "core"


@dataclass(frozen=True, slots=True)
class PluginParts:
    """What plugins are run with, wired in the composition root.

    Attributes:
        installation: UUID of this qrmd.
        state_dir: the daemon's; each plugin gets ``plugins/<name>`` in it.
        config_dir: holds ``<name>.toml``.
        ask: calls a verb.
        resume: takes up workflows that waited for a plugin, after it was started.
    """

    store: Store
    hooks: Hooks
    lanes: Lanes
    registries: Registries
    outbox: Outbox
    clock: Timers
    ask: Ask
    installation: str
    state_dir: Path
    config_dir: Path
    resume: Callable[[], Awaitable[object]] | None = None


class Started:
    """The running plugins by name, and the only place where their code is hooked in and out."""

    def __init__(self, parts: PluginParts) -> None:
        self._parts = parts
        self._running: dict[str, Running] = {}

    def __contains__(self, name: str) -> bool:
        """Whether the plugin runs."""
        return name in self._running

    def names(self) -> list[str]:
        """In order of start."""
        return list(self._running)

    def state_dir(self, name: str) -> Path:
        """The plugin's own directory."""
        return self._parts.state_dir / "plugins" / name

    async def construct(self, installed: Installed) -> Plugin:
        """An instance with its services. Raises what its configuration or its constructor raises."""
        cls = installed.load()
        directory = self.state_dir(installed.name)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        services = PluginServices(
            installed.name,
            installation=self._parts.installation,
            config=config.load_plugin_config(self._parts.config_dir, installed.name, cls.config_type),
            state_dir=directory,
            store=self._parts.store,
            lanes=self._parts.lanes,
            ask=self._parts.ask,
        )
        return cls(services)

    def collect(self, name: str, plugin: Any) -> Offered:
        """Check its hooks and ask what it registers; nothing of it stays."""
        _check_kinds(name, plugin)
        with self._hooked(name, plugin):
            values = {kind: tuple(self._parts.hooks.registered(name, f"register_{kind}")) for kind in NAMES}
        offered = Offered(**values)
        for action in offered.actions:
            if name != BUILT_IN and not action.name.startswith(f"{name}."):
                raise PluginFault(f"action {action.name} must be named {name}.…", subject=f"plugin:{name}")
        return offered

    @contextmanager
    def _hooked(self, name: str, plugin: Any) -> Iterator[None]:
        self._parts.hooks.add(name, plugin)
        try:
            yield
        finally:
            self._parts.hooks.remove(name)

    async def put(self, name: str, plugin: Any, offered: Offered) -> None:
        """Services first: what the plugin registers appears at once, when all of it works."""
        self._parts.registries.check(name, offered)
        running = Running(name, offered.services, self._parts.store, self._parts.clock)
        await running.begin()
        try:
            self._parts.hooks.add(name, plugin)
            self._parts.registries.put(name, offered)
        except Exception:
            self._parts.hooks.remove(name)
            await running.end()
            raise
        self._running[name] = running

    def beat(self, name: str) -> None:
        """Begin to call its periodic functions."""
        self._running[name].beat()

    async def observe(self, name: str) -> None:
        """Show it events from its cursor on."""
        observer = self._parts.hooks.observers().get(name)
        if observer is not None:
            await self._parts.outbox.follow(name, observer)

    async def take_out(self, name: str) -> None:
        """Remove exactly what ``put`` added; unknown is fine."""
        self._unhook(name)
        await self._parts.outbox.leave(name)
        running = self._running.pop(name, None)
        if running is not None:
            await running.end()

    def seize(self, name: str) -> Running:
        """Take a failing plugin out at once; its services are still to be ended."""
        running = self._running.pop(name)
        self._unhook(name)
        self._parts.outbox.drop(name)
        return running

    def _unhook(self, name: str) -> None:
        self._parts.hooks.remove(name)
        self._parts.registries.take_out(name)


def _check_kinds(name: str, plugin: Any) -> None:
    """A hook is never the place where work happens: no coroutines, no wrappers."""
    for member in dir(type(plugin)):
        function = getattr(type(plugin), member)
        options = getattr(function, "qrmd_impl", None)
        if options is None:
            continue
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise PluginFault(
                f"hook {member} is a coroutine function; hooks plan, actions act", subject=f"plugin:{name}"
            )
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginFault(f"hook {member} is a wrapper, which is not allowed", subject=f"plugin:{name}")
