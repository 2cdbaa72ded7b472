"""The mail that the user received, read as the user reads it: from the mail server's files."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from qrmd.errors import StepFailed
from qrmd.testing.waiting import wait_until

_LINE = re.compile(r"^(Host name|Address|Login|Password): +(\S+)$", re.MULTILINE)
_FIELDS = 4
WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Login:
    """How to get into one server."""

    hostname: str
    address: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail."""

    to: str
    subject: str
    text: str

    @property
    def logins(self) -> list[Login]:
        """All that it tells."""
        values = [match[2] for match in _LINE.finditer(self.text)]
        return [Login(*values[at : at + _FIELDS]) for at in range(0, len(values), _FIELDS)]

    @property
    def shown(self) -> str:
        """Its text without passwords, for a screen that others may see."""
        return re.sub(r"^(Password: +)\S+$", r"\1********", self.text, flags=re.MULTILINE)


def await_letter(mails: Path, to: str, words: str) -> Letter:
    """The newest mail to somebody with these words in its subject.

    Raises:
        StepFailed: it does not come.
    """
    try:
        wait_until(lambda: _find(mails, to, words), timeout=WAIT_SECONDS, what="mail")
    except TimeoutError:
        raise StepFailed(
            f"no mail to {to} about {words!r} came", subject="mail", hint="workflow.debts says what is owed"
        ) from None
    return _find(mails, to, words)[0]


def _find(mails: Path, to: str, words: str) -> list[Letter]:
    """Newest first."""
    found = []
    for path in sorted(mails.glob("*.eml"), reverse=True):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if isinstance(message, EmailMessage) and words in str(message["Subject"]) and to in str(message["To"]):
            text = message.get_content().replace("\r\n", "\n")
            found.append(Letter(to, str(message["Subject"]), text))
    return found
