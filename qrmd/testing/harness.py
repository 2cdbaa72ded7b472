"""A whole daemon without its doors in the process of a test, for tests of plugins through the verbs.

Everything but the listening sockets is what ``qrmd`` itself builds: store, engine, outbox, plugins, verbs. Use the
plugin ``simulated`` for hosts, and any directory for storages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrmd.config import load_config
from qrmd.daemon import bring_up, build, build_in, take_down
from qrmd.model import Actor, Role
from qrmd.operations.call import dispatch
from qrmd.preparation import prepare
from qrmd.testing.loop import Loop

ADMINISTRATOR = Actor("user:test", Role.ADMINISTRATOR)
ENDED = frozenset({"done", "undone", "abandoned"})
CONFIG = """
[server]
state_dir = "{directory}/state"
log_level = "warning"
[images]
import_dirs = ["{directory}"]
[listen]
admin = ""
portal = ""
boot = ""
"""


class Harness:
    """The daemon's parts. ``start`` and ``stop`` as the daemon does; ``call`` in between.

    Args:
        directory: for configuration and state; images are imported from it.
        loop: turns time.
        plugins: installed ones that are enabled and started, in order.
        config: of plugins: name → the text of its TOML file.
    """

    def __init__(
        self, directory: Path, loop: Loop, plugins: Sequence[str] = (), config: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.loop = loop
        self._plugins = plugins
        path = directory / "qrmd.toml"
        path.write_text(CONFIG.format(directory=directory), encoding="utf-8")
        (directory / "plugins.d").mkdir(exist_ok=True)
        for name, text in (config or {}).items():
            (directory / f"plugins.d/{name}.toml").write_text(text, encoding="utf-8")
        prepared = prepare(load_config(path), path, loop.deliver)
        self.core = build(prepared, loop, loop.deliver)
        self.store = self.core.store
        self._built_in, self._monitor = build_in(prepared, self.core, loop, loop.deliver)

    def start(self) -> None:
        """Start the core and the plugins."""
        self.store.start()
        self.loop.run(self._start())

    async def _start(self) -> None:
        core = self.core
        await bring_up(core, self._built_in)
        core.starting.clear()
        core.plugins.beat()
        for name in self._plugins:
            await core.plugins.enable(name, ADMINISTRATOR.name)
            await core.plugins.start(name, ADMINISTRATOR.name)

    def stop(self) -> None:
        """Stop everything; the rows stay."""
        self.core.engine.drain()
        self.loop.run(take_down(self.core, self._monitor))
        self.core.auth.stop()
        self.core.lanes.stop()
        self.store.stop()

    def call(self, verb: str, *arguments: Any, actor: Actor = ADMINISTRATOR) -> Any:
        """Call a verb. Raises what it raises."""
        return self.loop.run(dispatch(self.core, actor, verb, arguments))

    def finish(self, workflow: int) -> dict[str, Any]:
        """A workflow as ``workflow.get`` shows it once it has ended and all observers have seen that.

        Raises:
            AssertionError: it is stuck, or does not end.
        """
        found: dict[str, Any] = self.call("workflow.wait", workflow, 20.0)
        assert found["state"] in ENDED, found
        self.settle()
        return found

    def settle(self) -> None:
        """Wait until observers have seen everything."""
        self.loop.run(self._caught_up())

    async def _caught_up(self) -> None:
        await self.core.outbox.caught_up()
