"""The daemon's plugin parts without edges and engine: real store, hooks, verbs, outbox. For tests of plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qrmd.hooks.calls import Hooks
from qrmd.model import Actor, Event, Role
from qrmd.operations import plugins as plugin_verbs
from qrmd.operations import system as system_verbs
from qrmd.operations.call import dispatch
from qrmd.operations.registry import Registry, collect
from qrmd.outbox import Outbox
from qrmd.plugins.lifecycle import Plugins
from qrmd.plugins.registries import Registries
from qrmd.plugins.started import PluginParts
from qrmd.store import migrations, outbox
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.store.identity import installation
from qrmd.threads import Lanes
from qrmd.timers import Timers
from qrmd.vault import Vault

ADMINISTRATOR = Actor("user:test", Role.ADMINISTRATOR)


class Workshop:
    """Opens the database in ``directory`` and wires the parts; ``start`` and ``stop`` as the daemon does.

    Args:
        clock: turns time, ``Loop`` or a reactor.
        deliver: hands functions over to the clock's thread.
        first_pause: of the outbox, seconds.
    """

    def __init__(
        self,
        directory: Path,
        clock: Timers,
        deliver: Callable[[Callable[[], None]], Any],
        *,
        first_pause: float = 0.01,
    ) -> None:
        self.directory = directory
        self.store = Store(directory / "qrmd.db", Vault(directory / "vault.key"), deliver)
        self.store.write_now(_migrate)
        self.hooks = Hooks(lambda name, fault: self.plugins.quarantine(name, fault))  # noqa: PLW0108 - made later
        self.lanes = Lanes(deliver)
        self.registries = Registries()
        self.outbox = Outbox(self.store, self._ask_by_name, clock, deliver, first_pause=first_pause)
        self.plugins = Plugins(
            PluginParts(
                self.store,
                self.hooks,
                self.lanes,
                self.registries,
                self.outbox,
                clock,
                self._ask,
                self.store.write_now(installation),
                directory,
                directory / "plugins.d",
            )
        )
        self.verbs: Registry = self.registries.verbs
        self.settings = self.registries.settings
        self.verbs.add(collect(plugin_verbs, system_verbs))

    async def start(self) -> None:
        """Start the threads, the outbox and the plugins that were started."""
        self.store.start()
        await self.outbox.start()
        await self.plugins.start_enabled()

    async def stop(self) -> None:
        """Stop everything; the rows stay."""
        await self.plugins.stop_all()
        await self.outbox.stop()
        self.lanes.stop()
        self.store.stop()

    async def call(self, verb: str, *arguments: Any) -> Any:
        """Call a verb as an administrator."""
        return await self._ask(ADMINISTRATOR, verb, arguments)

    async def run_plugin(self, name: str) -> Any:
        """Enable and start an installed plugin."""
        await self.plugins.discover()
        await self.plugins.enable(name, ADMINISTRATOR.name)
        return await self.plugins.start(name, ADMINISTRATOR.name)

    async def events(self, kind: str = "") -> list[Event]:
        """All events, or those of one kind."""
        found = await self.store.read(outbox.after, 0, 100_000)
        return [each for each in found if kind in {"", each.kind}]

    async def store_write(self, *statements: str) -> None:
        """Execute statements: rows that other parts of the daemon would have written."""
        await self.store.write(_execute, statements)

    async def _ask(self, actor: Actor, verb: str, arguments: Sequence[Any]) -> Any:
        return await dispatch(self, actor, verb, arguments)  # type: ignore[arg-type]

    async def _ask_by_name(
        self, actor: Actor, verb: str, arguments: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Any:
        given = {**arguments, "options": options}
        values = [given[each.name] for each in self.verbs.get(verb).parameters if each.name in given]
        return await dispatch(self, actor, verb, values)  # type: ignore[arg-type]


def _migrate(db: Transaction) -> None:
    migrations.core.apply(db.toolkit)


def _execute(db: Transaction, statements: Sequence[str]) -> None:
    for each in statements:
        db.execute(each)
