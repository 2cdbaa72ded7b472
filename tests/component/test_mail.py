"""Mail over a real SMTP server that refuses, stays mute, or takes it."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from qrmd.errors import InvalidInput, StepFailed
from qrmd.mail import Server, compose, resolve, send


class Box:
    """Takes mail for everybody but some."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("never@"):
            return "550 no such user"
        if address.startswith("later@"):
            return "451 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(envelope)
        return "250 OK"


@pytest.fixture
def box() -> Iterator[tuple[Box, Server]]:
    handler = Box()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, Server("127.0.0.1", port, "", "", False, "qrmd@example.org")
    controller.stop()


def test_a_mail_arrives_once_composed(box: tuple[Box, Server]) -> None:
    handler, server = box
    send(server, compose(server.sender, "anna@example.org", "Grüße\r\nBcc: x@y", "hi Anna", "<step.1@qrmd>"))
    (mail,) = handler.mails
    content = mail.content
    assert isinstance(content, bytes)
    assert b"Message-ID: <step.1@qrmd>" in content
    assert b"\nBcc:" not in content
    assert mail.rcpt_tos == ["anna@example.org"]


@pytest.mark.parametrize(("to", "error"), [("never@example.org", InvalidInput), ("later@example.org", StepFailed)])
def test_a_refusal_for_good_is_not_tried_again(box: tuple[Box, Server], to: str, error: type[Exception]) -> None:
    _, server = box
    with pytest.raises(error):
        send(server, compose(server.sender, to, "s", "t"))


def test_a_server_that_is_away_is_tried_again(box: tuple[Box, Server]) -> None:
    handler, server = box
    with smtplib.SMTP(server.host, server.port) as probe:
        assert probe.noop()[0] == 250
    with pytest.raises(StepFailed, match="does not take mail"):
        send(
            Server("127.0.0.1", 1, "", "", False, "q@example.org"), compose("q@example.org", "a@example.org", "s", "t")
        )
    assert handler.mails == []


@pytest.mark.parametrize("address", ["a@b\r\nRCPT TO:<c@d>", "a", "a b@c", "a@b,c@d", "<a@b>", ""])
def test_an_address_can_not_name_a_second_one(address: str) -> None:
    with pytest.raises(InvalidInput):
        compose("q@example.org", address, "s", "t")


def test_references_are_filled_in_once() -> None:
    values = {"a": {"$secret": "secret:1"}, "b": [{"$slot": "x"}], "c": {"$secret": "s", "more": 1}}
    found = resolve(values, lambda reference: f"<{reference}>", {"x": {"$secret": "secret:2"}})
    assert found == {"a": "<secret:1>", "b": [{"$secret": "secret:2"}], "c": {"$secret": "s", "more": 1}}
