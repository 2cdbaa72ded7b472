"""Sessions of browsers: kept here, named by 256 random bits in a cookie, ended by any change of the account."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from qrmd.auth import Account, Authenticator
from qrmd.errors import Conflict
from qrmd.web.request import Request

IDLE = 30 * 60.0
LONGEST = 12 * 3600.0
PER_ACCOUNT = 20
IN_TOTAL = 10_000


@dataclass(slots=True)
class Session:
    """Somebody who logged in with a browser.

    Attributes:
        account: as it was then; a session whose account has changed since is over.
        key: secret that the tokens of its forms are made with.
        began, seen: seconds of the clock.
        streams: event streams it has open.
        ended: logged out, replaced or found to be over.
    """

    account: Account
    key: bytes
    began: float
    seen: float
    streams: int = 0
    ended: bool = False


class Sessions:
    """The sessions of one site. They live in memory: a restart of the daemon ends them all.

    Args:
        site: the cookie's name says it, because browsers share cookies among the ports of a host.
        clock: seconds, monotonic.
    """

    def __init__(self, site: str, clock: Callable[[], float], *, idle: float = IDLE, longest: float = LONGEST) -> None:
        self.cookie = f"__Host-qrmd-{site}"
        self._clock = clock
        self._idle = idle
        self._longest = longest
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def open(self, request: Request, account: Account) -> Session:
        """Begin a session under a new name, whatever the browser sent; the old one ends."""
        self.close(request)
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        session = Session(account, secrets.token_bytes(32), now, now)
        self._make_room(account)
        self._sessions[_digest(secret)] = session
        self._set_cookie(request, secret, int(self._longest))
        return session

    def close(self, request: Request) -> None:
        """End the browser's session, if it has one."""
        secret = self._secret(request)
        if secret:
            self._end(_digest(secret))
            self._set_cookie(request, "", 0)

    async def find(self, request: Request, auth: Authenticator, *, touch: bool = True) -> Session | None:
        """The browser's session if it still holds: not idle, not too old, its account unchanged.

        Args:
            touch: whether this request is somebody's doing; what a page asks by itself is not.
        """
        secret = self._secret(request)
        digest = _digest(secret)
        session = self._sessions.get(digest) if secret else None
        if session is None:
            return None
        if self.is_over(session) or not await is_unchanged(session, auth):
            self._end(digest)
            return None
        if touch:
            session.seen = self._clock()
        return session

    def is_over(self, session: Session) -> bool:
        """Whether it has been idle or open for too long, or was ended."""
        now = self._clock()
        return session.ended or now - session.seen > self._idle or now - session.began > self._longest

    def _make_room(self, account: Account) -> None:
        for digest in [key for key, each in self._sessions.items() if self.is_over(each)]:
            self._end(digest)
        own = [key for key, each in self._sessions.items() if each.account.actor.name == account.actor.name]
        for digest in own[: max(0, len(own) - PER_ACCOUNT + 1)]:
            self._end(digest)
        while len(self._sessions) >= IN_TOTAL:
            self._end(next(iter(self._sessions)))

    def _end(self, digest: bytes) -> None:
        session = self._sessions.pop(digest, None)
        if session is not None:
            session.ended = True

    def _secret(self, request: Request) -> str:
        value = request.getCookie(self.cookie.encode())  # type: ignore[no-untyped-call]
        return value.decode("ascii", "replace") if value else ""

    def _set_cookie(self, request: Request, value: str, seconds: int) -> None:
        text = f"{self.cookie}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}"
        request.cookies[:] = [each for each in request.cookies if not each.startswith(self.cookie.encode())]
        request.cookies.append(text.encode())


async def is_unchanged(session: Session, auth: Authenticator) -> bool:
    """Whether the account still is what it was: there, with the same password and role."""
    try:
        return await auth.account(session.account.actor) == session.account
    except Conflict:
        return False


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
