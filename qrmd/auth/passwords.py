"""Passwords: argon2 in a small pool of threads, so that logging in never holds up the daemon."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.errors import InvalidInput, TooManyRequests

T = TypeVar("T")

SHORTEST = 8
LONGEST = 256
AT_ONCE = 2
WAITING = 64

_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_hasher = PasswordHasher()
_SIZES = _hasher.salt_len, _hasher.hash_len


def check_password(value: str) -> str:
    """A password somebody chose: 8 to 256 characters, no control characters.

    Raises:
        InvalidInput: otherwise; the message never shows it.
    """
    if not SHORTEST <= len(value) <= LONGEST or not value.isprintable():
        raise InvalidInput(f"a password has {SHORTEST} to {LONGEST} printable characters")
    return value


def generate() -> str:
    """A password of 116 random bits that can be read aloud."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(20))


def hash_now(password: str) -> str:
    """The argon2id hash. Blocks for some 80 ms."""
    return _hasher.hash(password)


def verify_now(password_hash: str, password: str) -> bool:
    """Whether the password is the right one. Blocks for some 80 ms."""
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def make_decoy() -> str:
    """A hash that no password has, at no cost; to verify against it takes as long as against any other."""
    salt, digest = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in _SIZES)
    return f"$argon2id$v=19$m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}${salt}${digest}"


class Passwords:
    """``hash`` and ``verify`` in at most two threads, with a short queue.

    Args:
        deliver: hands a function over to the reactor thread (``reactor.callFromThread``).
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], Any]) -> None:
        self._deliver = deliver
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        self._decoy = make_decoy()

    def stop(self) -> None:
        """End the threads; what waits is cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """The hash of a new password."""
        return await self._run(hash_now, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is right; with no hash (unknown user) it takes as long and is not.

        Raises:
            TooManyRequests: too many log-ins wait already.
        """
        right = await self._run(self._verify, password_hash, password[: LONGEST + 1])
        return right and password_hash is not None

    def _verify(self, password_hash: str | None, password: str) -> bool:
        return verify_now(password_hash or self._decoy, password)

    def _run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        if self._waiting >= WAITING:
            raise TooManyRequests("too many log-ins at once", hint="try again in some seconds", retry_after=5)
        self._waiting += 1
        finished: Deferred[T] = Deferred()
        self._pool.submit(function, *args).add_done_callback(
            lambda future: self._deliver(lambda: self._finish(future, finished))
        )
        return finished

    def _finish(self, future: Future[T], finished: Deferred[T]) -> None:
        self._waiting -= 1
        if future.cancelled():
            finished.cancel()
            return
        error = future.exception()
        if error is None:
            finished.callback(future.result())
        else:
            finished.errback(Failure(error))
