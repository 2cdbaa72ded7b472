"""What a plugin gets, and what it runs: its services, and its periodic functions driven by the clock."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from qrmd import events
from qrmd.hooks.registered import Periodic, Service
from qrmd.model import Actor, Role, Severity
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.store.plugins import ident_of
from qrmd.threads import Lanes
from qrmd.timers import Timers

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

Ask = Callable[[Actor, str, Sequence[Any]], Awaitable[Any]]
"""(actor, verb, arguments) → the verb's answer."""

STOP_TIMEOUT = 30.0


class PluginServices:
    """``qrmd.api.Services`` for one plugin."""

    def __init__(
        self,
        name: str,
        *,
        installation: str,
        config: Any,
        state_dir: Path,
        store: Store,
        lanes: Lanes,
        ask: Ask,
    ) -> None:
        self.installation = installation
        self.config = config
        self.state_dir = state_dir
        self._actor = Actor(f"plugin:{name}", Role.ADMINISTRATOR)
        self._store = store
        self._lanes = lanes
        self._ask = ask

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` on a snapshot, in a reader thread."""
        return await self._store.read(function, *args)

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` in one transaction, in the writer thread."""
        return await self._store.write(function, *args)

    async def blocking(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in the thread of ``lane``."""
        return await self._lanes.call(lane, function, *args, **kwargs)

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """Call a verb as ``plugin:<name>`` with an administrator's rights."""
        return await self._ask(self._actor, verb, arguments)


class Running:
    """A plugin's services while it is started."""

    def __init__(self, plugin: str, services: Sequence[Service], store: Store, clock: Timers) -> None:
        self._services = [each for each in services if not isinstance(each, Periodic)]
        self._periodics = [_Beat(plugin, each, store, clock) for each in services if isinstance(each, Periodic)]
        self._plugin = plugin
        self._clock = clock
        self._begun: list[Service] = []

    async def begin(self) -> None:
        """Start the services in order; what raises ends it, and what was begun is stopped again."""
        for each in self._services:
            self._begun.append(each)
            try:
                await each.start()
            except Exception:
                await self.end()
                raise

    def beat(self) -> None:
        """Begin to call the periodic functions, each at once and then every interval."""
        for each in self._periodics:
            each.start()

    async def end(self) -> None:
        """Stop everything in reverse; a failure or a hang is logged and the rest goes on."""
        for periodic in self._periodics:
            await self._bounded(periodic.service.name, periodic.stop())
        while self._begun:
            each = self._begun.pop()
            await self._bounded(each.name, Deferred.fromCoroutine(_awaited(each.stop())))

    async def _bounded(self, name: str, ending: Deferred[Any]) -> None:
        try:
            await ending.addTimeout(STOP_TIMEOUT, self._clock)  # type: ignore[arg-type]
        except Exception:
            log.exception("plugin %s: its service %s did not stop", self._plugin, name)


class _Beat:
    """Calls one periodic function: never twice at once, a failure is an event when it is a new one."""

    def __init__(self, plugin: str, service: Periodic, store: Store, clock: Timers) -> None:
        self.service = service
        self._plugin = plugin
        self._store = store
        self._fault = ""
        self._call: Deferred[None] | None = None
        self._loop = LoopingCall(self._begin)
        self._loop.clock = clock  # type: ignore[assignment]

    def start(self) -> None:
        self._loop.start(self.service.interval)

    def stop(self) -> Deferred[None]:
        """Fires when a call under way has ended."""
        if self._loop.running:
            self._loop.stop()
        ended: Deferred[None] = Deferred(lambda _cancelled: None)
        if self._call is None:
            ended.callback(None)
            return ended

        def end(result: None) -> None:
            if not ended.called:
                ended.callback(None)
            return result

        self._call.addBoth(end)
        return ended

    def _begin(self) -> Deferred[None]:
        self._call = Deferred.fromCoroutine(self._once())
        return self._call

    async def _once(self) -> None:
        try:
            await self.service.function()
        except Exception as error:
            log.exception("plugin %s: its periodic %s failed", self._plugin, self.service.name)
            await self._note(f"{type(error).__name__}: {error}")
        else:
            await self._note("")
        finally:
            self._call = None

    async def _note(self, fault: str) -> None:
        """One event when a failure begins or changes, not one per call."""
        if fault == self._fault:
            return
        self._fault = fault
        try:
            await self._store.write(_tell, self._plugin, self.service.name, fault)
        except Exception:
            log.exception("plugin %s: the event of its periodic could not be written", self._plugin)


def _tell(db: Transaction, plugin: str, name: str, fault: str) -> None:
    ident = ident_of(db, plugin)
    events.append(
        db,
        "plugin.periodic_failed" if fault else "plugin.periodic_recovered",
        f"plugin:{plugin if ident is None else ident}",
        severity=Severity.ERROR if fault else Severity.NOTICE,
        data={"plugin": plugin, "periodic": name, **({"fault": fault} if fault else {})},
    )


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
