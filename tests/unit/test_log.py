"""Log lines: one each, and no secret in them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from qrmd.log import redact, start_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    start_logging("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_one_line_per_event_whatever_it_holds(lines: io.StringIO) -> None:
    logging.getLogger("qrmd.outbox").info("two\nlines and a \x1b escape")
    text = lines.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert 'level=info from=outbox msg="two\\nlines and a \\x1b escape"' in text


def test_a_traceback_stays_in_the_line(lines: io.StringIO) -> None:
    try:
        int("token=abcdef")
    except ValueError:
        logging.getLogger("qrmd.x").exception("it failed")
    text = lines.getvalue()
    assert text.count("\n") == 1
    assert "trace=" in text
    assert "abcdef" not in text


def test_what_is_below_the_level_is_silent(lines: io.StringIO) -> None:
    logging.getLogger("qrmd.x").debug("quiet")
    assert lines.getvalue() == ""


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        'password: "hunter2"',
        "{'password': 'hunter2', 'x': 1}",
        "Authorization: Basic hunter2",
        "api_token=hunter2,x=1",
        "https://anna:hunter2@host:7443/rpc",
        "private_key = hunter2",
    ],
)
def test_secrets_are_not_written(text: str) -> None:
    assert "hunter2" not in redact(text)


def test_references_to_secrets_and_plain_words_stay() -> None:
    assert redact("password=secret:12 in step 3") == "password=secret:12 in step 3"
    assert redact("the password was changed") == "the password was changed"
