"""A real daemon as a process of its own, which tests drive through its public interface, kill and start again."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qrmd.cli.connection import CallFailed, Connection
from qrmd.cli.profile import Profile
from qrmd.process import Process, spawn
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.journal import Journal
from qrmd.testing.lab import LabAccess, exec_argv
from qrmd.testing.waiting import wait_until

START_SECONDS = 60.0
ENDED = ("done", "undone", "stuck", "abandoned")
NAMES = ("admin", "portal")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a daemon is set up.

    Attributes:
        directory: holds configuration and log, and the state unless ``state_dir`` names another place.
        access: the lab in whose network it runs (None: the machine's own).
        plugins: configuration of plugins: name → keys.
        limits: keys of ``[limits]``.
        site: directory of further distributions, put on its Python path (see ``distributions``).
        state_dir: its state directory.
    """

    directory: Path
    access: LabAccess | None = None
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    site: Path | None = None
    state_dir: Path | None = None


class Daemon:
    """One installation of the daemon. It listens on 127.0.0.1, also when it runs inside a lab.

    The listening sockets are ours and outlive it: who calls while it is down waits until it is back.

    Attributes:
        state_dir: its state directory.
        password: of the first administrator, ``admin``; known after the first start.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.state_dir = setting.state_dir or setting.directory / "state"
        self.password = ""
        self._sockets = {name: _listen() for name in NAMES}
        self._process: Process | None = None
        self._clients = threading.local()
        self._generation = 0
        self.configure()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ life

    def configure(self) -> None:
        """Write its files; they count from its next start on."""
        directory = self.setting.directory
        (directory / "plugins.d").mkdir(parents=True, exist_ok=True)
        tables: dict[str, Mapping[str, Any]] = {
            "server": {"state_dir": str(self.state_dir)},
            "images": {"import_dirs": ["/", str(self.state_dir / "import")]},
            "listen": {"admin": "inherit", "portal": "inherit", "boot": ""},
            "limits": self.setting.limits,
        }
        text = "\n".join(f"[{name}]\n{_toml(table)}" for name, table in tables.items())
        (directory / "qrmd.toml").write_text(text, encoding="utf-8")
        for name, table in self.setting.plugins.items():
            (directory / "plugins.d" / f"{name}.toml").write_text(_toml(table), encoding="utf-8")

    def start(self, wrap: Sequence[str] = ()) -> Self:
        """Start it and wait until it is ready.

        Args:
            wrap: a command line that runs what follows, ``("strace", …)``; it must keep the process's number.

        Raises:
            AssertionError: it ended, or was not ready in time; with its log.
        """
        self.spawn(wrap)
        self.wait_ready()
        return self

    def spawn(self, wrap: Sequence[str] = ()) -> None:
        """Start it without waiting."""
        pairs = [f"{name}={each.fileno()}" for name, each in self._sockets.items()]
        program = module_argv("qrmd", "--config", str(self.setting.directory / "qrmd.toml"))
        line = [*wrap, *module_argv("qrmd.testing.launcher", *pairs, "--", *program)]
        if self.setting.access is not None:
            line = exec_argv(self.setting.access, line)
        environment = module_environment()
        if self.setting.site is not None:
            environment["PYTHONPATH"] += f":{self.setting.site}"
        descriptors = [each.fileno() for each in self._sockets.values()]
        self._generation += 1
        self._process = spawn(line, log=self._log_path, env=environment, pass_fds=descriptors)

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait until it says that it is ready, or only that its disk is full.

        Raises:
            AssertionError: it ended, or was not ready in time; with its log.
        """
        try:
            wait_until(self._answers, timeout=timeout, what="the daemon")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None
        if not self.password:
            found = re.search(r"password: (\S+)", self.log)
            self.password = found[1] if found else ""

    def kill(self) -> None:
        """SIGKILL, now; returns when it is dead."""
        self._running.kill()
        self._process = None

    def wait_killed(self, timeout: float = 30.0) -> None:
        """Wait for a death that somebody else brings about."""
        self._running.wait(timeout)
        self._process = None

    def stop(self) -> int:
        """SIGTERM, and wait; returns its exit status."""
        status = self._running.terminate(grace=30.0)
        self._process = None
        return status

    def restart(self) -> Self:
        """Start it again, after killing it if it runs."""
        if self._process is not None:
            self.kill()
        return self.start()

    def close(self) -> None:
        """End it and give up its sockets."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        for each in self._sockets.values():
            each.close()

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it wrote, over all its lives."""
        return self._log_path.read_text(encoding="utf-8", errors="replace") if self._log_path.exists() else ""

    # ------------------------------------------------------------ speaking with it

    @property
    def port(self) -> int:
        """Of the administration and XML-RPC."""
        number: int = self._sockets["admin"].getsockname()[1]
        return number

    @property
    def portal_port(self) -> int:
        """Of the cloud portal."""
        number: int = self._sockets["portal"].getsockname()[1]
        return number

    @property
    def ca_file(self) -> Path:
        """Its certificate."""
        return self.state_dir / "tls/tls.crt"

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a verb as the first administrator; each thread has a connection of its own.

        Raises:
            CallFailed: the fault, or the daemon's death during the call.
        """
        return self._connection().call(method, *arguments)

    def login(self, name: str, secret: str) -> Connection:
        """A connection as somebody else."""
        return Connection(Profile(f"https://{name}:{secret}@127.0.0.1:{self.port}", ca_file=str(self.ca_file)))

    def fault(self, method: str, *arguments: Any) -> CallFailed:
        """The fault that a call must end with.

        Raises:
            AssertionError: it was not refused.
        """
        try:
            answer = self.call(method, *arguments)
        except CallFailed as error:
            return error
        raise AssertionError(f"{method} was not refused: {answer}")

    def problems(self) -> list[str]:
        """What ``/readyz`` complains of."""
        found: list[str] = self._get_ready()["problems"]
        return found

    def wait(self, workflow: int, timeout: float = 60.0) -> dict[str, Any]:
        """The workflow when it has ended or is stuck.

        Raises:
            AssertionError: it did not in time; with its steps.
        """
        found: dict[str, Any] = self.call("workflow.wait", workflow, timeout)
        assert found["state"] in ENDED, f"workflow {workflow} after {timeout:g} s: {found}"
        return found

    def finish(self, method: str, *arguments: Any, timeout: float = 60.0) -> dict[str, Any]:
        """Call a verb that starts a workflow, and wait until that is done.

        Raises:
            AssertionError: it ended otherwise.
        """
        found = self.wait(self.call(method, *arguments), timeout)
        assert found["state"] == "done", found
        return found

    def run_plugins(self, *names: str) -> None:
        """Enable and start plugins."""
        for name in names:
            self.call("plugin.enable", name)
            self.call("plugin.start", name)

    def journal(self) -> Journal:
        """Its database, seen by a connection of our own that can't write."""
        return Journal(self.state_dir / "qrmd.sqlite")

    # ------------------------------------------------------------ inside

    @property
    def _running(self) -> Process:
        assert self._process is not None, "the daemon was not started"
        return self._process

    @property
    def _log_path(self) -> Path:
        return self.setting.directory / "daemon.log"

    def _connection(self) -> Connection:
        kept: tuple[int, Connection] | None = getattr(self._clients, "kept", None)
        if kept is None or kept[0] != self._generation:
            kept = (self._generation, self.login("admin", self.password))
            self._clients.kept = kept
        return kept[1]

    def _answers(self) -> bool:
        assert self.alive, f"the daemon has ended:\n{self.log[-4000:]}"
        with suppress(OSError, http.client.HTTPException, ssl.SSLError):
            found = self._get_ready()
            return bool(found["ready"]) or all("disk" in each for each in found["problems"])
        return False

    def _get_ready(self) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=5)
        try:
            connection.request("GET", "/readyz")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found
        finally:
            connection.close()


def _listen() -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    return listening


def _toml(table: Mapping[str, Any]) -> str:
    """JSON's numbers, texts and booleans are TOML's."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
