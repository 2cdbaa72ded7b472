"""A libvirt socket behind ssh, as a socket here.

libvirt's own ssh transport can neither be bounded nor ended from outside. Our tunnel is a child of ours: it can be
killed, it gives up on a silent network by itself, and all connections to a host share it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from qrmd.libvirt.uri import Target
from qrmd.libvirt.wire import Unreachable
from qrmd.process import Process, spawn

_POLL = 0.02  # ssh has no way to tell that its forward stands, except that the socket appears


class Tunnel:
    """``ssh -N -L near:far host``. Private directory, killed with us."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._directory: Path | None = None
        self._process: Process | None = None

    @property
    def socket(self) -> str:
        """Path of the near end."""
        return str(self._place() / "libvirt")

    def open(self, seconds: float) -> None:
        """Make it stand, if it does not yet.

        Raises:
            Unreachable: ssh ended or did not get through in time; its own last words are in the message.
        """
        if self._process is not None and self._process.poll() is None and Path(self.socket).exists():
            return
        self.close()
        near, log = Path(self.socket), self._place() / "log"
        self._process = process = spawn(self._argv(seconds), log=log)
        deadline = time.monotonic() + seconds
        while not near.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise Unreachable(
                    f"ssh to {self._target.host} failed: {_last_line(log) or f'no answer within {seconds:g} s'}",
                    hint="as the user of qrmd, without a password: ssh must work, and the host key must be known",
                )
            time.sleep(_POLL)

    def close(self) -> None:
        """End it; harmless when it does not stand."""
        process, self._process = self._process, None
        directory, self._directory = self._directory, None
        if process is not None:
            process.kill()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def _place(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="qrmd-ssh-"))  # 0700
        return self._directory

    def _argv(self, seconds: float) -> list[str]:
        target = self._target
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(max(1, round(seconds))),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ExitOnForwardFailure": "yes",
            "ControlPath": "none",
        }
        if target.options.get("no_verify") == "1":
            options |= {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR"}
        elif "known_hosts" in target.options:
            options["UserKnownHostsFile"] = target.options["known_hosts"]
        argv = ["ssh", "-N", "-T", "-L", f"{self.socket}:{target.socket or '/run/libvirt/libvirt-sock'}"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        argv += ["-i", target.options["keyfile"]] if "keyfile" in target.options else []
        argv += ["-p", str(target.port)] if target.port else []
        argv += ["-l", target.user] if target.user else []
        return [*argv, "--", target.host]


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
