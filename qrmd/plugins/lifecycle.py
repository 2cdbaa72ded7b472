"""Life cycle of plugins while the daemon runs: installed → enabled → started, quarantined when one fails."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredLock, gatherResults

from qrmd.api import Plugin
from qrmd.clock import SECOND, now_us
from qrmd.drivers import Found
from qrmd.errors import Conflict, InvalidInput, NotFound, PluginFault
from qrmd.names import shown
from qrmd.plugins.distributions import Installed, find_installed, in_order
from qrmd.plugins.registries import Offered
from qrmd.plugins.services import Running
from qrmd.plugins.started import BUILT_IN, PluginParts, Started
from qrmd.plugins.turns import one_at_a_time
from qrmd.states import PluginState
from qrmd.store import plugins as rows
from qrmd.store.connection import Db
from qrmd.watchdog import take_culprit

log = logging.getLogger(__name__)
DRAIN_PAUSE = 0.25
RUNS = (PluginState.ENABLED, PluginState.STARTED, PluginState.QUARANTINED)


class Changed(NamedTuple):
    """What a change of a plugin did, or would do: names that appear and vanish, by kind."""

    state: str
    appears: dict[str, list[str]]
    vanishes: dict[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """JSON shape."""
        return self._asdict()


class Plugins:
    """All plugins of this daemon."""

    def __init__(self, parts: PluginParts) -> None:
        self.lock = DeferredLock()
        self.installed: dict[str, Installed] = {}
        self._parts = parts
        self._started = Started(parts)
        self._failing: list[Deferred[None]] = []

    # ------------------------------------------------------------ what there is

    async def discover(self) -> dict[str, rows.PluginRow]:
        """Look for installed distributions; the rows of all plugins by name."""
        found = find_installed()
        for name, each in found.items():
            known = self.installed.get(name)
            found[name] = known if known is not None and known.version == each.version else each
        self.installed = found
        known_rows = await self._parts.store.read(rows.every)
        if any(name not in known_rows for name in found):
            await self._parts.store.write(rows.add_found, sorted(found))
            known_rows = await self._parts.store.read(rows.every)
        return known_rows

    def find(self, name: str) -> Installed:
        """An installed plugin.

        Raises:
            NotFound: its distribution is not installed.
        """
        try:
            return self.installed[name]
        except KeyError:
            raise NotFound(
                f"plugin {shown(name)} is not installed", hint="pip install it; qrm plugin list shows what there is"
            ) from None

    @property
    def config_dir(self) -> Path:
        """Where the plugins' configuration files lie."""
        return self._parts.config_dir

    def offered(self, name: str) -> Offered:
        """What a plugin registered; nothing while it is not started."""
        return self._parts.registries.offered.get(name, Offered())

    def packages(self) -> dict[str, str]:
        """Import name of each started plugin's package → the plugin's name, for the watchdog."""
        return {self.installed[name].package: name for name in self._started.names() if name in self.installed}

    async def dependents(self, name: str) -> list[str]:
        """Why a started plugin can't be stopped now, one sentence each; empty: it can."""
        offered = self.offered(name)
        found = await self._parts.store.read(rows.live_steps, name)
        found += await self._parts.store.read(
            rows.types_in_use,
            tuple(each.virtualization_type for each in offered.virtualization_types),
            tuple(each.deployment_type for each in offered.deployment_types),
        )
        return found + [f"plugin {each} requires it" for each in await self._requiring(name, {PluginState.STARTED})]

    async def _requiring(self, name: str, states: set[PluginState]) -> list[str]:
        known = await self._parts.store.read(rows.every)
        return [
            other
            for other, each in self.installed.items()
            if other in known and known[other].state in states and name in each.manifest().requires
        ]

    async def _require(self, name: str, states: tuple[PluginState, ...], what: str) -> None:
        known = await self._parts.store.read(rows.every)
        for each in self.find(name).manifest().requires:
            if each not in known or known[each].state not in states:
                raise Conflict(
                    f"it requires plugin {each}, which is not {what}",
                    subject=f"plugin:{name}",
                    hint=f"qrm plugin {'start' if what == 'started' else 'enable'} {each}",
                )

    # ------------------------------------------------------------ enable, disable, purge

    @one_at_a_time
    async def enable(self, name: str, actor: str, reason: str = "", *, dry_run: bool = False) -> Changed:
        """Make a plugin's tables; none of its code runs.

        Raises:
            PluginFault: it can't be imported or a migration failed; nothing has changed.
            Conflict: it is enabled already, or what it requires is not.
        """
        row = await self._parts.store.read(rows.get, name)
        plugin = self.find(name).load()
        _expect(row, PluginState.INSTALLED)
        await self._require(name, RUNS, "enabled")
        if not dry_run:
            await self._migrate(name, plugin)
            await self._parts.store.write(rows.move, name, PluginState.ENABLED, actor, reason)
        pending = await self._parts.store.read(_pending, plugin)
        return Changed(PluginState.ENABLED, {"migrations": pending} if pending else {}, {})

    async def _migrate(self, name: str, plugin: type[Plugin]) -> None:
        if plugin.migrations is not None:
            await self._parts.store.read(rows.copy_aside, self._parts.store.path, name, plugin.migrations)
            await self._parts.store.write(rows.migrate, name, plugin.migrations, self.find(name).version)

    @one_at_a_time
    async def disable(
        self, name: str, actor: str, reason: str = "", *, leave: bool = False, dry_run: bool = False
    ) -> Changed:
        """Forget that a plugin was enabled; its data stays.

        Raises:
            Conflict: it is started, others require it, or things it made are still there and ``leave`` was not said.
        """
        row = await self._parts.store.read(rows.get, name)
        _expect(row, PluginState.ENABLED)
        if others := await self._requiring(name, set(RUNS)):
            raise Conflict(f"{', '.join(others)} require it", subject=f"plugin:{name}", hint="disable them first")
        owned = await self._parts.store.read(rows.owned_by, name)
        if owned and not leave:
            raise _still_there(name, owned, "say leave (they stay), or start it and stop it with withdraw")
        if not dry_run:
            await self._parts.store.write(rows.move, name, PluginState.INSTALLED, actor, reason)
        return Changed(PluginState.INSTALLED, {}, {})

    @one_at_a_time
    async def purge(
        self, name: str, actor: str, reason: str = "", *, confirm: str = "", dry_run: bool = False
    ) -> Changed:
        """Drop a disabled plugin's tables, cursor and state directory.

        Raises:
            InvalidInput: ``confirm`` is not the plugin's name.
            Conflict: it is not disabled.
        """
        row = await self._parts.store.read(rows.get, name)
        _expect(row, PluginState.INSTALLED)
        if confirm != name and not dry_run:
            raise InvalidInput(
                "purging drops all its data for good",
                subject=f"plugin:{name}",
                hint=f'say so: {{"confirm": "{name}"}}',
            )
        tables = await self._parts.store.read(rows.tables_of, name)
        if not dry_run:
            await self._parts.store.write(rows.purge, name, actor, reason)
            await self._parts.lanes.call(
                f"plugin:{name}", shutil.rmtree, self._started.state_dir(name), ignore_errors=True
            )
        return Changed(PluginState.INSTALLED, {}, {"tables": tables} if tables else {})

    # ------------------------------------------------------------ start

    @one_at_a_time
    async def start(self, name: str, actor: str, reason: str = "", *, dry_run: bool = False) -> Changed:
        """Construct an enabled plugin and make known all it registers.

        Raises:
            PluginFault: it failed; it is quarantined with its fault, nothing of it is left.
            Conflict: it is not enabled, or what it requires is not started.
        """
        row = await self._parts.store.read(rows.get, name)
        _expect(row, PluginState.ENABLED, PluginState.QUARANTINED)
        installed = self.find(name)
        await self._require(name, (PluginState.STARTED,), "started")
        if dry_run:
            offered = self._started.collect(name, await self._started.construct(installed))
            self._parts.registries.check(name, offered)
            return Changed(PluginState.STARTED, offered.as_dict(), {})
        try:
            offered = await self._run(installed)
        except Exception as error:
            fault = _describe(error)
            log.exception("plugin %s does not start: %s", name, fault)
            await self._note_quarantine(name, fault, actor)
            raise PluginFault(fault, subject=f"plugin:{name}", hint="mend it, then start it again") from error
        try:
            await self._parts.store.write(rows.move, name, PluginState.STARTED, actor, reason)
            await self._started.observe(name)
        except Exception:
            await self._started.take_out(name)
            raise
        self._started.beat(name)
        if self._parts.resume is not None:
            await self._parts.resume()
        return Changed(PluginState.STARTED, offered.as_dict(), {})

    async def start_enabled(self) -> None:
        """At the daemon's start: start again what was started; one that fails is quarantined, the rest goes on."""
        known = await self.discover()
        culprit = take_culprit(self._parts.state_dir)
        if culprit is not None and culprit.plugin in known:
            await self._note_quarantine(culprit.plugin, culprit.fault, "system")
        if culprit is not None:
            culprit.forget()
        started = {name for name, row in known.items() if row.state is PluginState.STARTED}
        for name in in_order(self.installed, started):
            await self._start_again(name)

    async def _start_again(self, name: str) -> None:
        row = await self._parts.store.read(rows.get, name)
        if row.state is not PluginState.STARTED:
            return
        try:
            installed = self.find(name)
            await self._require(name, (PluginState.STARTED,), "started")
            await self._run(installed)
            await self._started.observe(name)
        except Exception as error:
            fault = _describe(error)
            log.exception("plugin %s does not start: %s", name, fault)
            await self._started.take_out(name)
            await self._note_quarantine(name, fault, "system")
        else:
            self._started.beat(name)

    async def build_in(self, plugin: Any, name: str = BUILT_IN) -> None:
        """Register the core's own hooks by the same path, without rows. What fails here is fatal."""
        await self._started.put(name, plugin, self._started.collect(name, plugin))

    def beat(self, name: str = BUILT_IN) -> None:
        """Begin what the core does periodically: it looks at things that only started plugins serve."""
        self._started.beat(name)

    async def _run(self, installed: Installed) -> Offered:
        """Construct, migrate, register; all or nothing."""
        plugin = await self._started.construct(installed)
        await self._migrate(installed.name, installed.load())
        offered = self._started.collect(installed.name, plugin)
        await self._started.put(installed.name, plugin, offered)
        return offered

    # ------------------------------------------------------------ stop

    @one_at_a_time
    async def stop(
        self,
        name: str,
        actor: str,
        reason: str = "",
        *,
        wait: float = 0,
        leave: bool = False,
        withdraw: bool = False,
        dry_run: bool = False,
    ) -> Changed:
        """Take out all that a plugin registered and stop its services.

        Args:
            wait: seconds to let live steps end.
            leave: things it made stay where they are.
            withdraw: things it made are taken back by its auditors first.

        Raises:
            Conflict: something depends on it; says what.
        """
        row = await self._parts.store.read(rows.get, name)
        _expect(row, PluginState.STARTED, PluginState.QUARANTINED)
        offered = self.offered(name)
        if row.state is PluginState.STARTED:
            await self._drain(name, wait)
            if withdraw and not dry_run:
                await self._withdraw(name, offered)
            owned = await self._parts.store.read(rows.owned_by, name)
            if owned and not leave and not (withdraw and dry_run):
                raise _still_there(name, owned, "say withdraw (they are removed) or leave (they stay)")
        if not dry_run:
            await self._started.take_out(name)
            await self._parts.store.write(rows.move, name, PluginState.ENABLED, actor, reason)
        return Changed(PluginState.ENABLED, {}, offered.as_dict())

    async def stop_all(self) -> None:
        """At the daemon's end: services end, rows stay, so that the next start starts the same plugins."""
        for name in reversed(self._started.names()):
            await self._started.take_out(name)
        await self.settled()

    async def _drain(self, name: str, wait: float) -> None:
        deadline = now_us() + int(wait * SECOND)
        while reasons := await self.dependents(name):
            if now_us() >= deadline:
                raise Conflict(
                    "; ".join(reasons),
                    subject=f"plugin:{name}",
                    hint="end that first, or wait longer",
                    reasons=reasons,
                )
            pause: Deferred[None] = Deferred()
            self._parts.clock.callLater(DRAIN_PAUSE, pause.callback, None)
            await pause

    async def _withdraw(self, name: str, offered: Offered) -> None:
        for owned in await self._parts.store.read(rows.owned_by, name):
            found = Found(owned.kind, owned.external_id, owned.place, owned.subject)
            for auditor in offered.auditors:
                if owned.place in auditor.places():
                    await self._parts.lanes.call(owned.place, auditor.remove_found, found)
                    await self._parts.store.write(rows.disown, owned.id)
                    break

    # ------------------------------------------------------------ quarantine

    def quarantine(self, name: str, fault: str) -> None:
        """Take a failing plugin out at once; rows and services follow. On the reactor thread."""
        if name == BUILT_IN or name not in self._started:
            return
        log.error("plugin %s is quarantined: %s", name, fault)
        running = self._started.seize(name)
        failing: Deferred[None] = Deferred.fromCoroutine(self._finish_quarantine(name, fault, running))
        self._failing.append(failing)
        failing.addErrback(lambda failure: log.error("plugin %s: %s", name, failure.getErrorMessage()))
        failing.addBoth(lambda _result: self._failing.remove(failing))

    @one_at_a_time
    async def _finish_quarantine(self, name: str, fault: str, running: Running) -> None:
        await running.end()
        await self._note_quarantine(name, fault, "system")

    async def _note_quarantine(self, name: str, fault: str, actor: str) -> None:
        row = await self._parts.store.read(rows.get, name)
        if row.state in {PluginState.STARTED, PluginState.ENABLED}:
            await self._parts.store.write(rows.move, name, PluginState.QUARANTINED, actor, "", fault)
        elif row.state is PluginState.QUARANTINED:
            await self._parts.store.write(rows.note_fault, name, fault)

    async def settled(self) -> None:
        """Resolves when every quarantine under way is written."""
        await gatherResults(list(self._failing))


def _expect(row: rows.PluginRow, *states: PluginState) -> None:
    if row.state not in states:
        raise Conflict(
            f"it is {row.state}, not {' or '.join(states)}", subject=f"plugin:{row.name}", state=row.state.value
        )


def _still_there(name: str, owned: list[rows.OwnedRow], hint: str) -> Conflict:
    some = ", ".join(f"{each.kind} {each.external_id} at {each.place}" for each in owned[:5])
    return Conflict(
        f"{len(owned)} things it made are still there: {some}",
        subject=f"plugin:{name}",
        hint=hint,
        owned=len(owned),
    )


def _pending(db: Db, plugin: type[Plugin]) -> list[str]:
    return [] if plugin.migrations is None else [each.name for each in plugin.migrations.pending(db.toolkit)]


def _describe(error: Exception) -> str:
    return error.message if isinstance(error, PluginFault) else f"{type(error).__name__}: {error}"
