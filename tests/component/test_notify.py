"""The service supervisor's protocols, spoken with a real socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qrmd.errors import ConfigInvalid
from qrmd.notify import inherited, notify

UNIT = Path(__file__).parents[2] / "etc" / "qrmd.service"


def test_ready_reaches_the_supervisor(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        assert notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert supervisor.recv(64) == b"READY=1"


def test_abstract_sockets_are_reached_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0qrmd-test-{os.getpid()}")
        assert notify("STOPPING=1", {"NOTIFY_SOCKET": f"@qrmd-test-{os.getpid()}"})
        assert supervisor.recv(64) == b"STOPPING=1"


def test_without_a_supervisor_nothing_is_said() -> None:
    assert not notify("READY=1", {})


def test_sockets_meant_for_another_process_are_not_taken() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "admin"}
    assert inherited(environment) == {}
    assert environment == {}


def test_unnamed_sockets_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="FileDescriptorName"):
        inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "unknown:unknown"})


def test_the_unit_speaks_these_protocols() -> None:
    text = UNIT.read_text(encoding="utf-8")
    for line in ("Type=notify", "StateDirectoryMode=0700", "NoNewPrivileges=true", "Restart=always"):
        assert line in text.splitlines()
