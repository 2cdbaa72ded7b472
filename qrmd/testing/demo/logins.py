"""A real ssh into a server, with the password that the mail told."""

from __future__ import annotations

import os
from pathlib import Path

from qrmd.errors import StepFailed
from qrmd.process import ProcessFailed, ProcessTimedOut, run
from qrmd.testing.demo.letters import Login
from qrmd.testing.lab import LabAccess, exec_argv

SECONDS = 60.0


def log_in(access: LabAccess, login: Login, known_hosts: Path) -> str:
    """What ``hostname`` and ``uname`` say on that server. The password is in no command line.

    Raises:
        StepFailed: no login, or another machine answers.
    """
    options = {
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "ConnectTimeout": "20",
        "PubkeyAuthentication": "no",
        "LogLevel": "ERROR",
    }
    ssh = ["ssh", "-F", "none", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    line = ["sshpass", "-e", *ssh, f"{login.user}@{login.address}", "hostname; uname -sr"]
    try:
        said = run(exec_argv(access, line), timeout=SECONDS, env={**os.environ, "SSHPASS": login.password}).stdout
    except (ProcessFailed, ProcessTimedOut) as error:
        raise StepFailed(
            f"no ssh login: {error}", subject=f"{login.user}@{login.address}", hint="cloud.server.console_log"
        ) from error
    name = said.partition("\n")[0].strip()
    if name != login.hostname:
        raise StepFailed(f"{name!r:.80} answers instead of {login.hostname}", subject=login.address)
    return " ".join(said.split())
