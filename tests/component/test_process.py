"""qrmd.process against real programs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from qrmd.process import ProcessFailed, ProcessTimedOut, run, spawn
from qrmd.testing.interpreter import module_environment
from qrmd.testing.waiting import wait_until


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_output_and_status_are_returned() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=5, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_arguments_are_never_read_by_a_shell() -> None:
    assert run(["printf", "%s", "$(id); `id` > x"], timeout=5).stdout == "$(id); `id` > x"


@pytest.mark.parametrize("program", ["cat", "true"])
def test_much_input_is_fed_whether_it_is_read_or_not(program: str) -> None:
    done = run([program], input="x" * 1_000_000, timeout=10)
    assert len(done.stdout) in {0, 1_000_000}


def test_a_failure_names_program_status_and_last_words() -> None:
    with pytest.raises(ProcessFailed, match="sh ended with status 7: it hurts") as caught:
        run(["sh", "-c", "echo it hurts >&2; exit 7"], timeout=5)
    assert caught.value.returncode == 7
    with pytest.raises(ProcessFailed, match="SIGTERM"):
        run(["sh", "-c", "kill $$"], timeout=5)


def test_a_missing_program_is_a_failure_that_says_so() -> None:
    with pytest.raises(ProcessFailed, match="no such program") as caught:
        run(["no-such-program-anywhere"], timeout=5)
    assert caught.value.returncode == 127


def test_a_time_out_ends_the_program_and_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    with pytest.raises(ProcessTimedOut):
        run(["sh", "-c", f"sleep 1000 & echo $! $$ > {note}; wait"], timeout=0.5)
    for pid in map(int, note.read_text(encoding="ascii").split()):
        wait_until(lambda pid=pid: not is_running(pid), what="the end of its group")  # type: ignore[misc]


def test_a_daemon_that_keeps_our_pipes_does_not_hold_us(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    done = run(["sh", "-c", f"sleep 1000 & echo $! > {note}; echo done"], timeout=20)
    assert done.stdout == "done\n"
    os.kill(int(note.read_text(encoding="ascii")), signal.SIGKILL)


def test_endless_output_is_cut_off() -> None:
    with pytest.raises(ProcessFailed, match="more than 1000 bytes"):
        run(["yes"], timeout=20, max_output=1000)


def test_standard_error_keeps_its_end_only() -> None:
    done = run(["sh", "-c", "yes | head -c 1000000 >&2; echo last >&2"], timeout=20)
    assert len(done.stderr) <= 64 * 1024
    assert done.stderr.endswith("last\n")


def test_a_child_is_logged_and_terminated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = spawn(["sh", "-c", "echo hello; exec sleep 1000"], log=log)
    wait_until(lambda: log.exists() and log.read_text(encoding="ascii") == "hello\n", what="its first words")
    assert child.poll() is None
    assert child.terminate() == -signal.SIGTERM
    assert not is_running(child.pid)


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    child = spawn(["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"])
    wait_until(lambda: "sleep" in run(["ps", "-o", "args=", "-s", str(child.pid)], timeout=5).stdout)
    assert child.terminate(grace=0.2) == -signal.SIGKILL


@pytest.mark.parametrize(("pdeathsig", "survives"), [(True, False), (False, True)])
def test_children_die_with_us_unless_told_otherwise(tmp_path: Path, *, pdeathsig: bool, survives: bool) -> None:
    note = tmp_path / "pid"
    code = (
        "import os, pathlib, qrmd.process, threading\n"
        f"def start():\n    child = qrmd.process.spawn(['sleep', '1000'], pdeathsig={pdeathsig})\n"
        f"    pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "thread = threading.Thread(target=start); thread.start(); thread.join()\n"  # a thread's end kills nobody
        f"pid = int(pathlib.Path({str(note)!r}).read_text())\n"
        "assert pathlib.Path(f'/proc/{pid}').exists()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = run([sys.executable, "-c", code], env=module_environment(), timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(note.read_text(encoding="ascii"))
    if survives:
        assert is_running(pid)
        os.kill(pid, signal.SIGKILL)
    else:
        wait_until(lambda: not is_running(pid), what="its end")
