"""Every error that qrmd raises on purpose.

An error says what happened, to which object, and what to do next. Its ``code`` serves the three edges:
HTTP status, XML-RPC fault code and, through ``exit_code``, the exit status of the command line.
"""

from __future__ import annotations

from typing import Any, ClassVar


class QrmdError(Exception):
    """Root of all deliberate errors.

    Args:
        message: one sentence, what happened.
        subject: the object it happened to, as ``kind:id-or-name`` (empty: none).
        hint: what to do next (empty: nothing sensible).
        data: JSON-able facts for programs (numbers missing, holder of a lock, …).
    """

    code: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, subject: str = "", hint: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.hint = hint
        self.data = data

    def __str__(self) -> str:
        """Message, subject and hint in one line, as shown to people."""
        text = f"{self.subject}: {self.message}" if self.subject else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        """The shape that events, step rows and faults keep."""
        return {
            "code": self.code,
            "error": type(self).__name__,
            "message": self.message,
            "subject": self.subject,
            "hint": self.hint,
            **({"data": self.data} if self.data else {}),
        }


class PreconditionFailed(QrmdError):
    """Nothing has changed."""

    code = 412


class InvalidInput(PreconditionFailed):
    """A value that can never be right: wrong type, unknown key, out of range."""

    code = 400
    exit_code = 2


class NotFound(PreconditionFailed):
    """No such object, or none that the caller may see."""

    code = 404
    exit_code = 3


class NotAuthenticated(PreconditionFailed):
    """No or wrong credentials."""

    code = 401
    exit_code = 4


class Forbidden(PreconditionFailed):
    """The caller's role does not grant this verb."""

    code = 403
    exit_code = 4


class Conflict(PreconditionFailed):
    """The object is not in a state in which this verb is possible, or the name is taken."""

    code = 409
    exit_code = 5


class Busy(Conflict):
    """Another workflow holds the subject or a claim; the message names it and its purpose."""


class NoCapacity(PreconditionFailed):
    """Refused before anything was made; ``data`` names the number that is missing."""

    code = 507
    exit_code = 5


class TooLarge(PreconditionFailed):
    """A body, batch or page beyond its limit."""

    code = 413
    exit_code = 2


class TooManyRequests(PreconditionFailed):
    """A rate limit; ``data["retry_after"]`` is in seconds."""

    code = 429
    exit_code = 75


class Unavailable(PreconditionFailed):
    """The daemon can't serve this now (starting, draining, disk full)."""

    code = 503
    exit_code = 75


class ConfigInvalid(PreconditionFailed):
    """A configuration file that can't be used; names file and key."""

    code = 500
    exit_code = 78


class StepFailed(QrmdError):
    """Something may have changed outside: the engine undoes or retries."""

    code = 500


class OutcomeUnknown(StepFailed):
    """A call was cut off (time-out, lost connection): it may or may not have taken effect."""

    code = 504


class PluginFault(QrmdError):
    """A plugin raised, returned nonsense or held the reactor; it is quarantined, the daemon lives."""

    code = 500
