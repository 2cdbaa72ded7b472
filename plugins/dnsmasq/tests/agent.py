"""A process that serves networks as the daemon would; told what to do through a socket.

Namespaces belong to threads, so a test can't enter one for all the threads that serving takes: it starts this
program in the namespace instead, and can kill it as a whole.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Listener
from pathlib import Path

from qrmd.errors import QrmdError
from qrmd_dnsmasq.audit import ReservationAuditor
from qrmd_dnsmasq.config import Config
from qrmd_dnsmasq.servers import Servers


def serve(socket: str, state_dir: Path, installation: str) -> None:
    """Answer (object, method, arguments) until told to end."""
    servers = Servers(state_dir, installation, Config())
    objects = {"servers": servers, "auditor": ReservationAuditor(servers)}
    servers.start()
    with Listener(socket) as listener, listener.accept() as connection:
        while True:
            name, method, arguments = connection.recv()
            if name == "end":
                break
            try:
                connection.send((True, getattr(objects[name], method)(*arguments)))
            except QrmdError as error:
                connection.send((False, str(error)))
        servers.stop()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
