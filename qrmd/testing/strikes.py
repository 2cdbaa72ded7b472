"""Killing a daemon at a chosen moment: when its journal shows it, or on its way into a chosen system call."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from qrmd.cli.connection import CallFailed
from qrmd.process import spawn
from qrmd.testing.daemon import ENDED, Daemon
from qrmd.testing.journal import Journal, watch
from qrmd.testing.waiting import wait_until

_keys = itertools.count(1)

Reached = Callable[[Journal, int], object]
"""Whether a workflow is where it is to be struck; asked very often."""

ATTEMPTS = 6
"""A moment of a millisecond may be missed; then another subject is taken."""


class Point(NamedTuple):
    """A step, and what is to be seen while it is in ``state``.

    Attributes:
        action: of the step.
        evidence: a pattern of files that come, go or change their size while the deed is done, ``volumes/*.part``:
            the first part names a directory of ``roots``. Empty: the journal alone decides.
    """

    action: str
    state: str = "running"
    evidence: str = ""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.action}-{self.state}{'-' if self.evidence else ''}{self.evidence.replace('/', '-')}"

    def was_hit(self, said: str) -> bool:
        """Whether the journal of the dead daemon says that it was there."""
        return f"{self.action}={self.state}" in said

    def reached(self, roots: Mapping[str, Path]) -> Reached:
        """Looks into journal and directories."""
        root, _, pattern = self.evidence.partition("/")
        before = _sizes(roots[root], pattern) if pattern else {}

        def look(journal: Journal, workflow: int) -> bool:
            if journal.step_state(workflow, self.action) != self.state:
                return False
            return not pattern or _sizes(roots[root], pattern) != before

        return look


def _sizes(directory: Path, pattern: str) -> dict[Path, int]:
    found = {}
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_size
    return found


def uncovered(actions: Iterable[str], points: Iterable[Point], quiet: Collection[str] = ()) -> list[str]:
    """Moments of a plan that no point strikes: as the intent is written, and when the deed shows outside.

    What follows a step is the intent of the next one.

    Args:
        actions: of the plan's steps.
        quiet: actions of which nothing shows outside.
    """
    known = [(each.action, bool(each.evidence)) for each in points]
    wanted = [(action, seen) for action in actions for seen in (False, True) if not (seen and action in quiet)]
    return [f"{action}: {'deed' if seen else 'intent'}" for action, seen in wanted if (action, seen) not in known]


class Asking:
    """A call under way in a thread of its own. The daemon may die during it and be asked again by the client."""

    def __init__(self, daemon: Daemon, method: str, *arguments: Any) -> None:
        self.method = method
        self._answer: Any = None
        self._fault: CallFailed | None = None
        self._thread = threading.Thread(target=self._run, args=(daemon, method, arguments), daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there is an answer or a fault."""
        return not self._thread.is_alive()

    def answer(self, timeout: float = 60.0) -> Any:
        """The answer.

        Raises:
            CallFailed: the call's fault.
            AssertionError: none came in time.
        """
        self._thread.join(timeout)
        assert self.ended, f"{self.method} has no answer after {timeout:g} s"
        if self._fault is not None:
            raise self._fault
        return self._answer

    def _run(self, daemon: Daemon, method: str, arguments: Sequence[Any]) -> None:
        try:
            self._answer = daemon.call(method, *arguments)
        except CallFailed as fault:
            self._fault = fault


def options(**more: Any) -> dict[str, Any]:
    """Options with a fresh key: who asks again after a crash means the same deed."""
    return {"key": f"strike-{next(_keys)}", **more}


def strike(daemon: Daemon, operation: str, reached: Reached, method: str, *arguments: Any) -> tuple[int, str]:
    """Ask for an operation, kill the daemon when its workflow is there, and start it again.

    Args:
        operation: of the workflow.
        method, arguments: the call, with options that have a key.

    Returns:
        The workflow, and what the journal said when the daemon was dead.
    """
    with daemon.journal() as journal:
        before = journal.newest()
        asking = Asking(daemon, method, *arguments)
        found = watch(lambda: journal.find(operation, before), 30.0, f"a workflow of {operation}")
        said = strike_workflow(daemon, journal, found, reached)
    daemon.start()
    assert asking.answer() == found, "asked again with its key, a call must find the same workflow"
    return found, said


def strike_workflow(daemon: Daemon, journal: Journal, workflow: int, reached: Reached, timeout: float = 60.0) -> str:
    """Kill the daemon when a workflow is there, or has ended; returns what the journal says then. It stays dead.

    A moment of a millisecond can be missed: see ``Point.was_hit``.
    """
    what = f"{journal.describe(workflow)} to be where it is to be struck"
    watch(lambda: reached(journal, workflow) or journal.state(workflow) in ENDED, timeout, what)
    daemon.kill()
    return journal.describe(workflow)


def strike_again(daemon: Daemon, workflow: int, action: str) -> str:
    """Start the dead daemon and kill it as soon as it has taken up a step anew; returns what the journal says then.

    It stays dead.
    """
    with daemon.journal() as journal:

        def attempts() -> list[int]:
            return [each.attempts for each in journal.steps(workflow) if each.action == action]

        before = attempts()
        daemon.spawn()
        watch(lambda: attempts() != before or journal.state(workflow) in ENDED, 60.0, f"{action} to be taken up")
        daemon.kill()
        return journal.describe(workflow)


def settle(daemon: Daemon, timeout: float = 60.0) -> None:
    """Wait until every workflow has ended.

    Raises:
        AssertionError: one is stuck, or did not end in time.
    """
    with daemon.journal() as journal:

        def over() -> bool:
            stuck = journal.stuck()
            assert not stuck, stuck
            return not journal.live()

        try:
            wait_until(over, timeout=timeout, what="the end of all workflows")
        except TimeoutError:
            raise AssertionError([journal.describe(each) for each in journal.live()]) from None


@contextmanager
def deadly(daemon: Daemon, call: str, number: int, log: Path) -> Iterator[None]:
    """While inside, the daemon is killed on its way into the ``number``-th of these system calls from now on.

    Args:
        call: as strace names it: ``fdatasync``, ``/^link``.
        log: what strace saw.
    """
    tracer = [f"--trace={call}", f"--inject={call}:signal=KILL:when={number}"]
    with traced(daemon, tracer, log):
        yield


@contextmanager
def traced(daemon: Daemon, tracer: Sequence[str], log: Path) -> Iterator[None]:
    """While inside, strace follows all threads of the daemon and its children; ``tracer`` are its options."""
    said = log.with_suffix(".strace")
    line = ["strace", "--follow-forks", "-o", str(log), *tracer, "-p", str(daemon.pid)]
    process = spawn(line, log=said)
    try:
        wait_until(lambda: "attached" in said.read_text(), timeout=20, what="strace")
        yield
    finally:
        process.terminate()
