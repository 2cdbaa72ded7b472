"""Faults to be played, from a JSON file that may change at any time."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from qrmd.api import ConfigInvalid, OutcomeUnknown, StepFailed

VERBS = (
    "check",
    "load",
    "define",
    "undefine",
    "power_on",
    "shutdown",
    "power_off",
    "reset",
    "resume",
    "find",
    "machines",
    "usage",
)


LOOK_SECONDS = 0.1
"""Between two looks at the file by a call that hangs."""


class Effect(StrEnum):
    """What happens instead of, before, or after the deed."""

    FAIL = "fail"  #: nothing is done
    UNKNOWN = "unknown"  #: done, and reported as cut off
    PAUSE = "pause"  #: done, then paused as by a full disk
    SLOW = "slow"  #: waits first
    HANG = "hang"  #: waits until the connection is aborted, or the rule taken back


@dataclass(slots=True)
class Rule:
    """One fault. Empty ``host``: any; ``nth`` 0: each call."""

    verb: str
    effect: Effect
    host: str = ""
    nth: int = 0
    seconds: float = 1.0
    count: int = field(default=0, init=False)

    def hits(self, verb: str, host: str) -> bool:
        """Count a call; whether this is one to spoil."""
        if verb != self.verb or self.host not in {"", host}:
            return False
        self.count += 1
        return self.nth in {0, self.count}


class Faults:
    """The rules of a file. Without a file it costs nothing."""

    def __init__(self, path: str, *, blocking: bool) -> None:
        self._path = Path(path) if path else None
        self._blocking = blocking
        self._stamp: tuple[int, int] = (0, 0)
        self._rules: list[Rule] = []
        self._hanging: dict[str, threading.Event] = {}

    def before(self, verb: str, host: str) -> Effect | None:
        """Play what comes before the deed; returns what is to come after it.

        Raises:
            StepFailed: nothing is done.
            OutcomeUnknown: it hung and was aborted; nothing was done.
        """
        if self._path is None:
            return None
        self._read(self._path)
        rule = next((rule for rule in self._rules if rule.hits(verb, host)), None)
        if rule is None:
            return None
        if rule.effect is Effect.FAIL:
            raise StepFailed(f"{verb} failed as ordered", subject=f"host:{host}", hint="see the file of faults")
        if rule.effect is Effect.SLOW:
            threading.Event().wait(rule.seconds)
        elif rule.effect is Effect.HANG:
            self._hang(rule, verb, host)
            return None
        return rule.effect

    def _hang(self, rule: Rule, verb: str, host: str) -> None:
        aborted = self._hanging.setdefault(host, threading.Event())
        while self._path is not None and rule in self._rules:
            if aborted.wait(LOOK_SECONDS):
                raise OutcomeUnknown(f"{verb} hung and was cut off", subject=f"host:{host}")
            self._read(self._path)

    def abort(self, host: str) -> None:
        """Let what hangs on this host end."""
        event = self._hanging.pop(host, None)
        if event is not None:
            event.set()

    def _read(self, path: Path) -> None:
        try:
            status = path.stat()
        except FileNotFoundError:
            self._stamp, self._rules = (0, 0), []
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._stamp, self._rules = stamp, _parse(path, blocking=self._blocking)


def _parse(path: Path, *, blocking: bool) -> list[Rule]:
    try:
        rules = [Rule(**{**item, "effect": Effect(item["effect"])}) for item in json.loads(path.read_bytes())]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigInvalid(f"not a list of faults: {error}", subject=str(path)) from error
    for rule in rules:
        if rule.verb not in VERBS:
            raise ConfigInvalid(f"{rule.verb!r} is no verb that can fail", subject=str(path))
        if rule.effect in {Effect.SLOW, Effect.HANG} and not blocking:
            raise ConfigInvalid(f"{rule.effect} needs blocking = true", subject=str(path))
    return rules
