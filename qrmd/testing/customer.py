"""A cloud customer of a data centre: what is ordered, what arrives by mail, and whether the bill is right."""

from __future__ import annotations

import email
import email.policy
from collections import Counter
from decimal import Decimal
from email.message import EmailMessage
from itertools import pairwise
from typing import Any

from qrmd.testing.datacentre import GUEST_MB, IMAGE, DataCentre
from qrmd.testing.strikes import options, settle
from qrmd.testing.waiting import wait_until

HOLD_HOURS = 24
"""What an open-ended lease holds CCUs for."""


class Customer:
    """One user of the cloud plugin, which is started for it.

    Args:
        centre: built.
        credit: CCUs.
    """

    def __init__(self, centre: DataCentre, credit: int = 1000) -> None:
        self.centre = centre
        self.name = "carla"
        daemon, access = centre.daemon, centre.access
        daemon.run_plugins("cloud")
        mail = {"smtp.host": access.smtp_host, "smtp.port": access.smtp_port, "mail.from": "qrmd@example.org"}
        daemon.call("settings.set", mail)
        daemon.call("cloud.user.add", {"name": self.name, "email": "carla@example.org"})
        daemon.call("cloud.user.set_ccus", self.name, str(credit), {"reason": "for tests"})

    def order(self, **spec: Any) -> int:
        """A new request for one server of the micro image. Returns its id."""
        wanted = {"image": IMAGE, "memory_mb": GUEST_MB, "user": self.name, **spec}
        ident: int = self.centre.daemon.call("cloud.request.create", wanted, options())
        return ident

    def activate(self, request: int) -> None:
        """Approve it and wait until it is active."""
        daemon = self.centre.daemon
        found = daemon.wait(daemon.call("cloud.request.approve", request, options()))
        assert found["state"] == "done", found

    def give_back(self, request: int) -> None:
        """De-provision it, and check that all is over."""
        self.centre.daemon.finish("cloud.request.deprovision", request, options())
        self.check_over(request)

    def get(self, request: int) -> dict[str, Any]:
        """The request as the interface shows it."""
        found: dict[str, Any] = self.centre.daemon.call("cloud.request.get", request)
        return found

    def account(self) -> dict[str, Any]:
        """Balance and holds."""
        found: dict[str, Any] = self.centre.daemon.call("cloud.account.get", self.name)
        return found

    def lines(self) -> list[dict[str, Any]]:
        """The ledger."""
        found: list[dict[str, Any]] = self.centre.daemon.call("cloud.account.transactions", {}, self.name)
        return found

    def letters(self, words: str) -> list[EmailMessage]:
        """Mails in the sink with these words in their subject, in the order in which they came."""
        found = []
        for path in sorted(self.centre.access.mail_dir.glob("*.eml")):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if isinstance(message, EmailMessage) and words in str(message["Subject"]):
                found.append(message)
        return found

    # ------------------------------------------------------------ what must be so

    def check_active(self, request: int, servers: int = 1) -> None:
        """So many servers, machines and addresses; the CCUs of the lease are held, no more and no less."""
        settle(self.centre.daemon)
        found = self.get(request)
        assert found["state"] == "active", found
        active = [each for each in found["servers"] if each["state"] == "active"]
        assert len(active) == servers, found
        left = self.centre.leftovers()
        assert {kind: len(left[kind]) for kind in ("domains", "guests", "leases")} == dict.fromkeys(
            ("domains", "guests", "leases"), servers
        )
        addresses = {each["address"] for each in active}
        assert addresses == {line.split()[2] for line in left["leases"]}
        assert len(addresses) == servers
        assert self.centre.audit()["clean"], self.centre.audit()
        wait_until(self._holds_what_it_needs, timeout=30, what="a hold for what runs")  # of the next look at the bill
        wait_until(lambda: self.spent(request) > 0, what="a second to bill")

    def _holds_what_it_needs(self) -> bool:
        account = self.account()
        return Decimal(account["held"]) == Decimal(account["price_per_hour"]) * HOLD_HOURS

    def spent(self, request: int) -> Decimal:
        """Billed and not billed yet."""
        charged = [Decimal(each["amount"]) for each in self.lines() if each["request"] == request]
        return -sum(charged, Decimal(0)) + Decimal(self.account()["unbilled"])

    def check_over(self, request: int) -> None:
        """Nothing is left, nothing is held, and the ledger says each second once."""
        settle(self.centre.daemon)
        assert self.get(request)["state"] == "done"
        assert self.centre.leftovers() == {}
        account, lines = self.account(), self.lines()
        assert Decimal(account["held"]) == 0
        assert Decimal(account["balance"]) == sum(Decimal(each["amount"]) for each in lines)
        check_ledger(lines, request)


def check_ledger(lines: list[dict[str, Any]], request: int) -> None:
    """Charges of a server follow each other without gap or overlap; each balance is the sum so far.

    For servers that ran from their start to their end.
    """
    mine = [each for each in lines if each["request"] == request and each["kind"] == "charge"]
    assert mine, "it ran, so it is billed"
    assert max(Counter((each["server"], each["from"]) for each in mine).values()) == 1
    spans = sorted((each["server"], each["from"], each["to"]) for each in mine)
    for one, two in pairwise(spans):
        assert one[0] != two[0] or one[2] == two[1], f"charged twice, or not at all: {one} {two}"
    total = Decimal(0)
    for each in lines:
        total += Decimal(each["amount"])
        assert Decimal(each["balance"]) == total


def check_letter(letters: list[EmailMessage], copies: int) -> None:
    """One mail, in so many copies at most: each has the same Message-ID and says the same."""
    assert 1 <= len(letters) <= copies, [each["Subject"] for each in letters]
    assert len({each["Message-ID"] for each in letters}) == 1
    assert len({each.get_content() for each in letters}) == 1
