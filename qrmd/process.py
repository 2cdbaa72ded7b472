"""The one place that spawns programs: argv lists, never a shell, always a time-out, no orphans.

Each child runs in a session of its own, so that it can be ended with everything it started. By default the
kernel kills it when we die (by ``setpriv --pdeathsig``; a ``preexec_fn`` would run Python code between fork and
exec, which a program with threads can't do safely).
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from qrmd.errors import OutcomeUnknown, StepFailed

MAX_OUTPUT = 4 * 1024 * 1024
"""Bytes of standard output that ``run`` accepts; a child that writes more is killed."""

_MAX_STDERR = 64 * 1024
_PIPE_GRACE = 0.5  # seconds that a daemonised grandchild may hold our pipes after the child has ended
_CHUNK = 64 * 1024

# If we die between fork and prctl, no signal comes any more: what runs next looks whether its parent is still
# the right one. The script is fixed; program and arguments are its positional parameters.
_DIE_WITH_PARENT = (
    *("/usr/bin/setpriv", "--pdeathsig", "KILL", "--"),
    *("/bin/sh", "-c", '[ "$PPID" = "$0" ] || exit 125; exec "$@"'),
)

# PDEATHSIG fires when the *thread* that forked ends, not the process: long-running children are therefore
# forked by one thread that lives as long as we do.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="process-spawner")


@dataclass(frozen=True)
class Completed:
    """What a program left behind; undecodable bytes are replaced."""

    stdout: str
    stderr: str
    returncode: int


class ProcessFailed(StepFailed):
    """A program is missing, could not be started, or ended with another status than 0.

    ``returncode`` is negative for a signal, 127 for a program that is not there; ``stderr`` its last 64 KiB.
    """

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str, *, hint: str = "") -> None:
        lines = stderr.strip().splitlines()
        said = lines[-1] if lines else "and said nothing"
        super().__init__(f"{Path(argv[0]).name} ended with {describe_status(returncode)}: {said}", hint=hint)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr


class ProcessTimedOut(OutcomeUnknown):
    """A program was killed, with its whole process group, because it took longer than ``timeout`` seconds."""

    def __init__(self, argv: Sequence[str], timeout: float, stderr: str) -> None:
        super().__init__(f"{Path(argv[0]).name} was killed after {timeout:g} s")
        self.argv = tuple(argv)
        self.timeout = timeout
        self.stderr = stderr


class Process:
    """A long-running child: the part of ``subprocess.Popen`` that we need, aimed at its process group."""

    def __init__(self, argv: Sequence[str], popen: subprocess.Popen[bytes]) -> None:
        self.argv = tuple(argv)
        self.pid = popen.pid
        self._popen = popen

    @property
    def returncode(self) -> int | None:
        """Its exit status (negative: signal), None while it runs."""
        return self._popen.poll()

    def poll(self) -> int | None:
        """Reap it if it has ended; its exit status, or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float) -> int:
        """Wait for its end, ``timeout`` in seconds.

        Raises:
            ProcessTimedOut: it still runs (and goes on).
        """
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ProcessTimedOut(self.argv, timeout, "") from error

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group; harmless when it has ended."""
        if self._popen.returncode is None:  # not reaped, so the number still belongs to it
            _signal_group(self.pid, number)

    def terminate(self, grace: float = 5.0) -> int:
        """SIGTERM, after ``grace`` seconds SIGKILL, to the whole group; returns the exit status."""
        if self._popen.returncode is None:
            self.signal(signal.SIGTERM)
            _wait_unreaped(self.pid, grace)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to the whole group; returns the exit status."""
        self.signal(signal.SIGKILL)
        return self._popen.wait()


def describe_status(returncode: int) -> str:
    """``status 3`` or ``SIGKILL``, for people."""
    if returncode >= 0:
        return f"status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: str | bytes | None = None,  # noqa: A002 - the name that subprocess taught everybody
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    check: bool = True,
    pdeathsig: bool = True,
    max_output: int = MAX_OUTPUT,
) -> Completed:
    """Run a program to its end (blocking) and collect what it says.

    Args:
        argv: program (a path or a name on PATH) and arguments.
        timeout: seconds, then the whole process group gets SIGKILL.
        input: given to its standard input, which is empty otherwise.
        env: its whole environment; ours if None.
        cwd: its working directory.
        check: raise if it ends with another status than 0.
        pdeathsig: the kernel kills it when the calling thread ends.
        max_output: bytes of standard output; more is a failure.

    Raises:
        ProcessFailed: it is missing, failed (with ``check``) or wrote too much.
        ProcessTimedOut: it took too long, and may or may not have done its work.
    """
    data = input.encode() if isinstance(input, str) else input
    stdin = subprocess.PIPE if data is not None else subprocess.DEVNULL
    pipe = subprocess.PIPE
    popen = _popen(argv, stdin=stdin, out=pipe, err=pipe, env=env, cwd=cwd, pdeathsig=pdeathsig)
    dialogue = _Dialogue(popen, data or b"", max_output)
    try:
        in_time = dialogue.hold(time.monotonic() + timeout)
    finally:
        if popen.poll() is None or dialogue.overflow:
            _signal_group(popen.pid, signal.SIGKILL)
        popen.wait()
        dialogue.close()
    stderr = dialogue.stderr.decode(errors="replace")
    if dialogue.overflow:
        raise ProcessFailed(argv, popen.returncode, f"it wrote more than {max_output} bytes")
    if not in_time:
        raise ProcessTimedOut(argv, timeout, stderr)
    if check and popen.returncode != 0:
        raise ProcessFailed(argv, popen.returncode, stderr)
    return Completed(dialogue.stdout.decode(errors="replace"), stderr, popen.returncode)


def spawn(
    argv: Sequence[str],
    *,
    log: Path | str | None = None,
    pdeathsig: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start a long-running child in a session of its own; nobody waits for it.

    Args:
        argv: program (a path or a name on PATH) and arguments.
        log: file that gets its output, appended (mode 0600); None: discarded.
        pdeathsig: the kernel kills it when our process ends; False: it outlives us.
        env: its whole environment; ours if None.
        cwd: its working directory.
        pass_fds: descriptors that it inherits under the same numbers.

    Raises:
        ProcessFailed: the program is missing or can't be executed.
    """
    with contextlib.ExitStack() as stack:
        out: int | IO[bytes] = subprocess.DEVNULL
        if log is not None:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            out = stack.enter_context(os.fdopen(descriptor, "ab"))
        started = _spawner.submit(
            _popen, argv, stdin=subprocess.DEVNULL, out=out, err=subprocess.STDOUT,
            env=env, cwd=cwd, pdeathsig=pdeathsig, pass_fds=pass_fds,
        )  # fmt: skip
        return Process(argv, started.result())


def find_program(name: str, env: Mapping[str, str] | None = None) -> str | None:
    """The absolute path of a program, also below the sbin directories; None if it is not installed."""
    path = (env if env is not None else os.environ).get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")


def _popen(
    argv: Sequence[str],
    *,
    stdin: int,
    out: int | IO[bytes],
    err: int,
    env: Mapping[str, str] | None,
    cwd: Path | str | None,
    pdeathsig: bool,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    program = find_program(argv[0], env)
    if program is None:
        raise ProcessFailed(argv, 127, "no such program", hint=f"install the package that holds {argv[0]}")
    line = [program, *argv[1:]]
    if pdeathsig:
        line = [*_DIE_WITH_PARENT, str(os.getpid()), *line]
    try:
        return subprocess.Popen(
            line,
            stdin=stdin,
            stdout=out,
            stderr=err,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessFailed(argv, 126, str(error)) from error


def _wait_unreaped(pid: int, timeout: float) -> None:
    """Wait for a child's end and leave the zombie, so that its group can still be named by its number."""
    descriptor = os.pidfd_open(pid)
    try:
        select.select([descriptor], [], [], timeout)
    finally:
        os.close(descriptor)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


class _Dialogue:
    """Feeds and drains a child's pipes until it has ended, within a deadline and a bound."""

    def __init__(self, popen: subprocess.Popen[bytes], data: bytes, max_output: int) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.overflow = False
        self._popen = popen
        self._data = memoryview(data)
        self._max_output = max_output
        self._selector = selectors.DefaultSelector()
        self._pidfd = os.pidfd_open(popen.pid)
        self._ended = False
        self._selector.register(self._pidfd, selectors.EVENT_READ, self._end)
        for stream, event, callback in (
            (popen.stdin, selectors.EVENT_WRITE, self._write),
            (popen.stdout, selectors.EVENT_READ, self._read_stdout),
            (popen.stderr, selectors.EVENT_READ, self._read_stderr),
        ):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream, event, callback)

    def hold(self, deadline: float) -> bool:
        """Talk until the child has ended; False if the deadline (``time.monotonic``) came first."""
        while self._selector.get_map() and not self.overflow:
            left = deadline - time.monotonic()
            if left <= 0:
                return self._ended
            for key, _events in self._selector.select(left):
                if key.fd in self._selector.get_map():
                    key.data(key.fileobj)
            if self._ended:
                deadline = min(deadline, time.monotonic() + _PIPE_GRACE)
        return True

    def close(self) -> None:
        self._selector.close()
        os.close(self._pidfd)
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _end(self, fileobj: Any) -> None:
        self._ended = True
        self._forget(fileobj)
        self._forget(self._popen.stdin)  # nobody reads it any more

    def _write(self, stream: Any) -> None:
        try:
            self._data = self._data[os.write(stream.fileno(), self._data[:_CHUNK]) :]
        except BrokenPipeError:
            self._data = self._data[:0]
        if not self._data:
            self._forget(stream)
            stream.close()

    def _read_stdout(self, stream: Any) -> None:
        self.stdout += self._read(stream)
        self.overflow = len(self.stdout) > self._max_output

    def _read_stderr(self, stream: Any) -> None:
        self.stderr += self._read(stream)
        del self.stderr[:-_MAX_STDERR]

    def _read(self, stream: Any) -> bytes:
        chunk = os.read(cast("int", stream.fileno()), _CHUNK)
        if not chunk:
            self._forget(stream)
        return chunk

    def _forget(self, fileobj: Any) -> None:
        if any(key.fileobj == fileobj for key in list(self._selector.get_map().values())):
            self._selector.unregister(fileobj)
