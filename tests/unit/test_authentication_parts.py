"""The pure parts of authentication."""

from __future__ import annotations

import argon2
import pytest

from qrmd.auth import check_password, passwords, tokens
from qrmd.auth.limits import MOST_KEYS, Attempts
from qrmd.errors import InvalidInput, NotAuthenticated, TooManyRequests
from qrmd.web.xmlrpc import read_credentials


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_attempts_are_limited_within_their_window() -> None:
    clock = _Clock()
    attempts = Attempts(3, 60, clock)
    for at in (0, 10, 20):
        clock.now = at
        attempts.take("a")
    attempts.take("b")
    clock.now = 30
    with pytest.raises(TooManyRequests) as caught:
        attempts.take("a")
    assert caught.value.data == {"retry_after": 30}
    clock.now = 60
    attempts.take("a")


def test_a_right_attempt_does_not_count() -> None:
    attempts = Attempts(1, 60, _Clock())
    for _ in range(10):
        attempts.take("a")
        attempts.give_back("a")


def test_memory_of_attempts_is_bounded() -> None:
    attempts = Attempts(1, 60, _Clock())
    for number in range(MOST_KEYS + 100):
        attempts.take(str(number))
    assert len(attempts._seen) == MOST_KEYS


@pytest.mark.parametrize("value", ["", "short", "x" * 257, "with\nnewline", "with\x00nul", "tab\there"])
def test_passwords_that_are_refused(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_password(value)
    assert value == "" or value not in str(caught.value)


def test_generated_secrets() -> None:
    assert len({passwords.generate() for _ in range(100)}) == 100
    assert check_password(passwords.generate())
    secret = tokens.generate()
    assert tokens.looks_like(secret)
    assert len(secret) == 47
    assert not tokens.looks_like(passwords.generate())
    assert secret not in tokens.digest(secret)


def test_hashes() -> None:
    hashed = passwords.hash_now("a long password")
    assert hashed.startswith("$argon2id$")
    assert passwords.verify_now(hashed, "a long password")
    assert not passwords.verify_now(hashed, "another password")
    assert not passwords.verify_now("no hash at all", "a long password")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Basic YTpi", ("a", "b")),
        (b"basic YTpiOmM=", ("a", "b:c")),
        (b"Basic w6Q6w6Q=", ("ä", "ä")),
        (b"Bearer qrm_x", ("", "qrm_x")),
    ],
)
def test_credentials_of_a_header(header: bytes, expected: tuple[str, str]) -> None:
    assert read_credentials(header) == expected


@pytest.mark.parametrize(
    "header", [None, b"", b"Basic", b"Basic !!", b"Basic YQ==", b"Basic /w==", b"Bearer \xff", b"X y"]
)
def test_credentials_that_can_t_be_read(header: bytes | None) -> None:
    with pytest.raises(NotAuthenticated):
        read_credentials(header)


def test_the_decoy_costs_as_much_as_a_real_hash_and_is_nobodys() -> None:
    """Made from random bytes; argon2 takes it for a hash of its own."""
    decoy = passwords.make_decoy()
    real = passwords.hash_now("a password")
    assert argon2.extract_parameters(decoy) == argon2.extract_parameters(real)
    assert len(decoy) == len(real)
    assert not passwords.verify_now(decoy, "a password")
    assert decoy != passwords.make_decoy()
