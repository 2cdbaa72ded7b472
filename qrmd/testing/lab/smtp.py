"""An SMTP sink: each mail becomes one ``.eml`` file. Started by ``python -m qrmd.testing.lab.smtp NAME``.

The file ``smtp.mode`` in the lab's directory can take the server away without ending it: ``accept`` (or no
file), ``refuse`` (each mail gets 451) or ``mute`` (connections are taken and never answered).
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import time
from pathlib import Path
from typing import Literal

from aiosmtpd.smtp import SMTP, Envelope, Session

from qrmd.process import run
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.lab.access import ADDRESS, SMTP_PORT, LabAccess, exec_argv, state_dir
from qrmd.testing.lab.detachment import detach

MODE_FILE = "smtp.mode"
PID_FILE = "smtp.pid"
MAX_MAIL = 10 * 1024 * 1024

Mode = Literal["accept", "refuse", "mute"]


class Sink:
    """Writes mails into a directory; headers ``X-Envelope-From`` and ``-To`` are put before each."""

    def __init__(self, mails: Path, mode_file: Path) -> None:
        self._mails = mails
        self._mode_file = mode_file
        self._numbers = itertools.count(1)

    def read_mode(self) -> str:
        try:
            return self._mode_file.read_text(encoding="ascii").strip() or "accept"
        except FileNotFoundError:
            return "accept"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.read_mode() == "refuse":
            return "451 4.3.0 no mail is taken now"
        recipients = ", ".join(envelope.rcpt_tos)
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {recipients}\r\n"
        content = envelope.original_content or b""
        name = f"{time.time_ns():020d}-{next(self._numbers):06d}.eml"
        draft = self._mails / f"{name}.part"
        draft.write_bytes(head.encode() + content)
        draft.rename(self._mails / name)  # who reads *.eml sees whole mails only
        return "250 2.0.0 taken"


class MutableSMTP(SMTP):
    """A server that can go mute."""

    async def _handle_client(self) -> None:
        if isinstance(self.event_handler, Sink) and self.event_handler.read_mode() == "mute":
            await asyncio.Event().wait()  # ends when the client gives up
        await super()._handle_client()


def start(access: LabAccess) -> None:
    """Start the sink of a lab, in its network; it is listening when this returns.

    Raises:
        ProcessFailed: it could not start; the message says why.
    """
    program = module_argv("qrmd.testing.lab.smtp", access.name)
    run(exec_argv(access, program), timeout=30, env=module_environment())


def set_mode(access: LabAccess, mode: Mode) -> None:
    """Take the server away, or bring it back; counts from the next connection or mail on."""
    draft = access.state_dir / f".{MODE_FILE}"
    draft.write_text(mode, encoding="ascii")
    draft.rename(access.state_dir / MODE_FILE)


def serve(name: str) -> None:
    """Listen, leave the caller behind, and serve until killed."""
    directory = state_dir(name)
    listener = socket.create_server((ADDRESS, SMTP_PORT))
    detach(directory / PID_FILE, directory / "smtp.log")
    asyncio.run(_serve(listener, Sink(directory / "mail", directory / MODE_FILE)))


async def _serve(listener: socket.socket, sink: Sink) -> None:
    loop = asyncio.get_running_loop()

    def make_protocol() -> SMTP:
        return MutableSMTP(sink, hostname="mail.lab", data_size_limit=MAX_MAIL, loop=loop)

    server = await loop.create_server(make_protocol, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1])
