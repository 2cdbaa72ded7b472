"""People and requests in a real store, for tests of this plugin and of plugins that build on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred

from qrmd.api import SECOND, Actor, Role, now_us
from qrmd_cloud import decisions
from qrmd_cloud.limits import Amounts
from qrmd_cloud.model import MarkKind, Request
from qrmd_cloud.money import MICRO
from qrmd_cloud.rules import Rules
from qrmd_cloud.states import RequestState, ServerState
from qrmd_cloud.store import ledger, meter, requests, servers, users

T = TypeVar("T")
ADMIN = Actor("user:admin", Role.ADMINISTRATOR)
HOUR = 3600 * SECOND


class Writes(Protocol):
    """A store; its threads are started by those tests that need them."""

    def start(self) -> None:
        """From here on ``write`` and ``read``, no longer ``write_now``."""
        ...

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """In the writer thread."""
        ...

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """In a reader thread."""
        ...

    def write_now(self, function: Callable[..., T], *args: Any) -> T:
        """Run in this thread and commit."""
        ...


@dataclass
class Town:
    """Shortcuts to people and requests in a store."""

    store: Writes
    rules: Rules

    def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """``function(db, *args)``, committed."""
        return self.store.write_now(lambda db: function(db, *args, **kwargs))

    def user(self, name: str = "bob", ccus: int = 1000, limits: Amounts | None = None) -> int:
        """A user with so many CCUs; the id."""
        ident = self.do(users.add, name, f"{name}@example.org", "", limits or Amounts())
        self.do(ledger.give, ident, ccus * MICRO, "user:admin", "first credit")
        return ident

    def order(self, user: int, **changes: Any) -> int:
        """A new request: one server at 4 CCU per hour, open-ended."""
        answer = self.do(decisions.create, request(user, **changes), self.rules, ADMIN, ())
        return int(answer["request"])

    def approve(self, ident: int) -> None:
        """As an administrator does."""
        self.do(decisions.approve, ident, self.rules, "user:admin", "")

    def activate(self, ident: int, at: int) -> list[int]:
        """As after provisioning: the request is active, its meters run since ``at``; ids of its servers."""
        self.do(requests.move, ident, RequestState.PROVISIONING)
        for server in self.do(servers.of_request, ident):
            self.do(servers.note_appliance, server.id, 100 + server.id, at)
            self.do(servers.move, server, ServerState.ACTIVE, "test")
            self.do(meter.mark, server.id, at, MarkKind.ON, "test")
        self.do(requests.put, ident, active_at=at)
        self.do(requests.move, ident, RequestState.ACTIVE)
        return [server.id for server in self.do(servers.of_request, ident)]

    def active(self, user: int, at: int, **changes: Any) -> int:
        """A request that is active since ``at``."""
        ident = self.order(user, **changes)
        self.approve(ident)
        self.activate(ident, at)
        return ident


def request(user: int, **changes: Any) -> Request:
    """What 4 CCU per hour pay for: 1 CPU, 256 MiB, 1 GiB disk, 1 NIC."""
    now = now_us()
    found = Request(
        id=0,
        user_id=user,
        state=RequestState.NEW,
        image="micro",
        type="any",
        cpus=1,
        memory_mb=256,
        disk_mb=1024,
        nics=1,
        quantity=1,
        start_at=now,
        stop_at=0,
        ha=False,
        hostname="",
        ssh_key="",
        partial=False,
        reason="",
        created_at=now,
    )
    return replace(found, **changes)
