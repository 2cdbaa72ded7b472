"""Log lines: one per event, ``key=value``, to standard error. What looks like a secret is not written."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

_SECRET = re.compile(
    r"(?i)((?:password|passwd|passphrase|secret(?!:\d)|token|authorization|private[_-]?key)[\"']?\s*[=:]\s*)"
    r"(?!secret:\d)(?:(?:basic|bearer)\s+)?(\"[^\"]*\"|'[^']*'|[^\s,;}\]]+)"
)
_CREDENTIALS = re.compile(r"(://[^/\s:@]+:)[^/\s@]+(@)")
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+")


def redact(text: str) -> str:
    """The text without the values of what is named like a secret, and without passwords in URLs."""
    return _CREDENTIALS.sub(r"\1***\2", _SECRET.sub(r"\1***", text))


def quoted(text: str) -> str:
    """The text as the value of a key: quoted unless it is one plain word; always one line."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_escape(each) for each in escaped) + '"'


def _escape(character: str) -> str:
    if character == "\n":
        return "\\n"
    return character if character.isprintable() else f"\\x{ord(character):02x}"


class LineFormatter(logging.Formatter):
    """``at=… level=… from=… msg="…" trace="…"``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        pairs = [
            ("at", at),
            ("level", record.levelname.lower()),
            ("from", record.name.removeprefix("qrmd.")),
            ("msg", record.getMessage()),
        ]
        if record.exc_info:
            pairs.append(("trace", self.formatException(record.exc_info)))
        return " ".join(f"{key}={quoted(redact(value))}" for key, value in pairs)


def start_logging(level: str, stream: TextIO = sys.stderr) -> None:
    """Send everything of ``level`` and above to ``stream``; called again it replaces what was set."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
