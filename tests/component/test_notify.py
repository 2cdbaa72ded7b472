"""The service supervisor's protocols, spoken with a real socket."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from qrmd import process
from qrmd.errors import ConfigInvalid
from qrmd.notify import inherited, notify
from qrmd.testing.interpreter import module_argv, module_environment

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


TAKES = """
import os, socket
from qrmd.notify import inherited
made = [socket.create_server(("127.0.0.1", 0)).detach() for _ in range(2)]
for number, descriptor in zip((3, 4), made):
    os.dup2(descriptor, number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="admin:portal")
found = inherited()
assert found == {"admin": 3, "portal": 4}, found
assert not any(name.startswith("LISTEN_") for name in os.environ)
assert not os.get_inheritable(3)
assert socket.socket(fileno=found["portal"]).getsockname()[0] == "127.0.0.1"
"""


def test_sockets_are_taken_by_name_once() -> None:
    process.run([sys.executable, "-c", TAKES], timeout=30)


LATE = """
import os, socket
import twisted.internet.endpoints
from qrmd.notify import inherited
found = inherited()
assert list(found) == ["admin"], found
assert socket.socket(fileno=found["admin"]).getsockname()[0] == "127.0.0.1"
"""


def test_sockets_are_taken_also_after_twisted_looked_for_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        argv = module_argv("qrmd.testing.launcher", f"admin={listening.fileno()}", "--", sys.executable, "-c", LATE)
        child = process.spawn(argv, env=module_environment(), pass_fds=[listening.fileno()])
        assert child.wait(30) == 0


def test_unnamed_sockets_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="FileDescriptorName"):
        inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "unknown:unknown"})


def test_the_unit_speaks_these_protocols() -> None:
    text = UNIT.read_text(encoding="utf-8")
    for line in ("Type=notify", "StateDirectoryMode=0700", "NoNewPrivileges=true", "Restart=always"):
        assert line in text.splitlines()
