"""A whole daemon in this process: everything but its doors, which the measurement opens as it needs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qrmd.config import load_config
from qrmd.core import Core
from qrmd.daemon import Daemon, deliver
from qrmd.model import Actor, Role
from qrmd.operations.call import dispatch
from qrmd.preparation import prepare

HOSTS = 100
ADMINISTRATOR = Actor("user:bench", Role.ADMINISTRATOR)
CONFIG = """
[server]
state_dir = "{state}"
log_level = "warning"
[images]
import_dirs = ["/"]
[listen]
admin = "{admin}"
portal = ""
boot = ""
"""
IMAGE_MB = 8
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPeZ8BjNu2h1cN4l8vC2Yw5cYp6Yk0rKz3fJ8sX1bQ2d bench"
"""With a key no password is made, whose hash alone takes milliseconds of a processor."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory on disk for the state, with one of its name in memory for simulated machines; both go in the end."""
    with TemporaryDirectory(prefix="qrmd-bench-") as directory:
        place = Path(directory)
        try:
            yield place
        finally:
            shutil.rmtree(MEMORY / place.name, ignore_errors=True)


class Inside:
    """Hosts and storage are simulated, everything between them and ``dispatch`` is real.

    Args:
        directory: for the state, which may be there already.
        plugins: enabled and started beside ``simulated``.
        nics: network cards of each appliance.
    """

    def __init__(self, directory: Path, plugins: Sequence[str] = ("cloud", "dir-storage"), nics: int = 1) -> None:
        self._plugins = plugins
        self._nics = nics
        self._directory = directory
        self._count = 0
        write_plugin_config(directory, MEMORY / directory.name)
        prepared = prepare(load_config(write_config(directory)), directory / "qrmd.toml", deliver)
        self.password = prepared.password
        self.daemon = Daemon(prepared)

    @property
    def core(self) -> Core:
        """Its parts."""
        return self.daemon.core

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """Call a verb as an administrator."""
        return await dispatch(self.core, ADMINISTRATOR, verb, arguments)

    async def start(self) -> None:
        """Start; make hosts, storage, network and image."""
        await self.daemon.start()
        for plugin in ("simulated", *self._plugins):
            await self.ask("plugin.enable", plugin)
            await self.ask("plugin.start", plugin)
        for number in range(HOSTS):
            uri = f"simulated://node{number}?cpus=128&memory_mb=524288"
            await self.ask("host.add", {"name": f"node{number}", "uri": uri, "type": "simulated-vm"})
        await self.ask("storage.add", {"name": "pool", "type": "simulated", "location": "simulated://pool"})
        await self.ask("network.add", {"name": "net", "bridge": "br-bench", "cidr": "10.0.0.0/12"})
        path = self._directory / "image.raw"
        with path.open("wb") as file:
            file.truncate(IMAGE_MB << 20)
        image = {"name": "image", "storage": "pool", "path": str(path), "format": "raw"}
        await self.finish(await self.ask("image.import", image))

    async def make_token(self) -> str:
        """A token of the first administrator, whose check costs no password hash."""
        actor = await self.core.auth.authenticate("admin", self.password or "", "127.0.0.1")
        made = await dispatch(self.core, actor, "token.create", ["bench"])
        return str(made["token"])

    async def finish(self, workflow: int) -> None:
        """Wait until a workflow is done."""
        await self.core.engine.wait(workflow, 3600.0)
        found = await self.ask("workflow.get", workflow)
        assert found["state"] == "done", found

    async def add(self, count: int) -> list[int]:
        """Stopped appliances; returns their ids."""
        networks = ["net"] * self._nics
        made = []
        for _ in range(count):
            self._count += 1
            spec = {
                "name": f"server-{self._count}",
                "image": "image",
                "memory_mb": 512,
                "networks": networks,
                "ssh_keys": [KEY],
            }
            made.append(await self.ask("appliance.add", spec))
        return made

    async def make_active(self, appliance: int) -> None:
        """From stopped to active."""
        workflow = await self.ask("appliance.start", appliance)
        await self.core.engine.wait(workflow, 3600.0)

    async def count_active(self) -> int:
        """How many are active, of the rows."""
        found: int = await self.core.store.read(
            lambda db: db.value("SELECT count(*) FROM appliances WHERE state = 'active'")
        )
        return found

    async def stop(self) -> None:
        """End it; the state stays."""
        await self.daemon.stop()


def write_config(directory: Path, admin: str = "") -> Path:
    """A configuration file with its state in ``directory``."""
    path = directory / "qrmd.toml"
    path.write_text(CONFIG.format(state=directory / "state", admin=admin), encoding="utf-8")
    return path


def write_plugin_config(directory: Path, machines: Path) -> None:
    """Simulated machines are kept in memory, so that they cost nothing that real ones would not."""
    (directory / "plugins.d").mkdir(exist_ok=True)
    (directory / "plugins.d/simulated.toml").write_text(f'directory = "{machines}"\n', encoding="utf-8")
