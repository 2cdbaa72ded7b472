"""The daemon of a demo: configured, started in the lab's network, heard, ended."""

from __future__ import annotations

import json
import os
import re
import selectors
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrmd.errors import StepFailed
from qrmd.process import Process, describe_status, spawn
from qrmd.testing.demo.doors import Doors
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.lab import LabAccess, exec_argv
from qrmd.testing.waiting import wait_until

START_SECONDS = 60.0
STOP_SECONDS = 15.0
_PASSWORD = re.compile(r"password: (\S+)")


class Service:
    """A daemon over ``directory``, inside the network of a lab, behind these doors.

    Attributes:
        log: what it wrote on standard error.
        password: of the first administrator; it is said on standard output, once, and nobody writes it down.
    """

    def __init__(self, directory: Path, access: LabAccess, doors: Doors) -> None:
        self.directory = directory
        self.log = directory / "daemon.log"
        self.state_dir = directory / "state"
        self.ca_file = self.state_dir / "tls/tls.crt"
        self.password = ""
        self._access = access
        self._doors = doors
        self._process: Process | None = None

    def configure(self) -> None:
        """Write its files."""
        (self.directory / "plugins.d").mkdir(mode=0o700, parents=True)
        tables: dict[str, Mapping[str, Any]] = {
            "server": {"state_dir": str(self.state_dir)},
            "images": {"import_dirs": [str(self._access.micro_image.parent)]},
            "listen": dict.fromkeys(self._doors.descriptors, "inherit"),
        }
        text = "\n".join(f"[{name}]\n{_toml(table)}" for name, table in tables.items())
        (self.directory / "qrmd.toml").write_text(text, encoding="utf-8")
        plugins: dict[str, dict[str, Any]] = {
            "kvm": {"domain_type": self._access.domain_type},
            "cloud": {"portal_url": f"https://{self._doors.address('portal')}"},
        }
        for name, table in plugins.items():
            (self.directory / "plugins.d" / f"{name}.toml").write_text(_toml(table), encoding="utf-8")

    def start(self) -> None:
        """Start it; it is ready when this returns.

        Raises:
            StepFailed: it is not; the log says why.
        """
        said, saying = os.pipe()
        try:
            self._process = self._spawn(saying)
            os.close(saying)
            saying = -1
            self.password = self._hear(said)
            wait_until(self._is_ready, timeout=START_SECONDS, what="the daemon")
        except TimeoutError as error:
            raise StepFailed(str(error), subject="daemon", hint=f"see {self.log}") from error
        finally:
            os.close(said)
            if saying >= 0:
                os.close(saying)

    def check(self) -> None:
        """Go on while it runs. Raises StepFailed when it has ended."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise StepFailed(f"it has ended with {describe_status(status)}", subject="daemon", hint=f"see {self.log}")

    def stop(self) -> None:
        """End it as a service supervisor does."""
        if self._process is not None:
            self._process.terminate(STOP_SECONDS)

    def _spawn(self, saying: int) -> Process:
        doors = self._doors.descriptors
        pairs = [f"{name}={number}" for name, number in doors.items()]
        program = module_argv("qrmd", "--config", str(self.directory / "qrmd.toml"))
        behind = module_argv("qrmd.testing.launcher", *pairs, "--", *program)
        heard = module_argv("qrmd.testing.demo.hearing", str(saying), "--", *behind)
        line = exec_argv(self._access, heard)
        return spawn(line, log=self.log, env=module_environment(), pass_fds=[*doors.values(), saying])

    def _hear(self, said: int) -> str:
        """The password, from what it says before it is ready."""
        deadline = time.monotonic() + START_SECONDS
        text = b""
        with selectors.DefaultSelector() as selector:
            selector.register(said, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                chunk = os.read(said, 4096)
                text += chunk
                if found := _PASSWORD.search(text.decode(errors="replace") if text.endswith(b"\n") else ""):
                    return found[1]
                if not chunk:
                    break
        raise StepFailed("it did not start", subject="daemon", hint=f"see {self.log}")

    def _is_ready(self) -> bool:
        self.check()
        context = ssl.create_default_context(cafile=self.ca_file)
        url = f"https://{self._doors.address('admin')}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:
                return bool(json.load(answer)["ready"])
        except (OSError, urllib.error.URLError):
            return False


def _toml(table: Mapping[str, Any]) -> str:
    """JSON's numbers, texts and booleans are TOML's."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
