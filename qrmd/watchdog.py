"""The watchdog: a thread that ends the process when something holds the reactor for too long, and says who."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from qrmd.clock import now_us
from qrmd.timers import Timers

log = logging.getLogger(__name__)

EXIT_STATUS = 70
FILE = "culprit.json"
FACADE = "qrmd.hooks.calls"


@dataclass(frozen=True, slots=True)
class Culprit:
    """Who held the reactor when the daemon ended itself; ``plugin`` is empty when it was no plugin."""

    plugin: str
    fault: str
    path: Path

    def forget(self) -> None:
        """Remove the file: its story is told."""
        self.path.unlink(missing_ok=True)


def take_culprit(state_dir: Path) -> Culprit | None:
    """What the watchdog left behind, None when nothing. An unreadable file counts as nobody."""
    path = state_dir / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Culprit(str(kept["plugin"]), str(kept["fault"]), path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Culprit("", "", path)


class Watchdog:
    """Watches the thread in which ``start`` is called.

    Args:
        limit: seconds without a beat.
        packages: import name of a plugin's package → the plugin's name, of all that are loaded.
        called: the plugin that the hooks' facade is calling now, None for none.
        end: ends the process.
    """

    def __init__(
        self,
        state_dir: Path,
        limit: float,
        packages: Callable[[], Mapping[str, str]],
        called: Callable[[], str | None],
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._path = state_dir / FILE
        self._limit = limit
        self._packages = packages
        self._called = called
        self._end = end
        self._beats = 0
        self._stopped = threading.Event()

    def start(self, clock: Timers) -> None:
        """Begin: the reactor beats, the thread listens."""
        self._clock = clock
        self._watched = threading.get_ident()
        self._beat()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _beat(self) -> None:
        self._beats += 1
        if not self._stopped.is_set():
            self._clock.callLater(self._limit / 10, self._beat)

    def _watch(self) -> None:
        """Count own ticks, not the clock: a machine that was suspended has not held its reactor."""
        tick = self._limit / 20
        held, seen = 0.0, self._beats
        while not self._stopped.wait(tick):
            held = held + tick if self._beats == seen else 0.0
            seen = self._beats
            if held >= self._limit:
                self._bark(held)
                return

    def _bark(self, held: float) -> None:
        frames = sys._current_frames()  # noqa: SLF001 - the documented way to other threads' stacks
        plugin = self._find_culprit(frames.get(self._watched))
        stacks = _describe_threads(frames)
        log.critical("the reactor was held for %.1f s by %s; the daemon ends\n%s", held, plugin or "no plugin", stacks)
        self._keep(plugin, f"it held the reactor for {held:.1f} s")
        logging.shutdown()
        self._end(EXIT_STATUS)

    def _find_culprit(self, frame: FrameType | None) -> str:
        """The innermost plugin on the reactor's stack, else the one whose hook is being called there."""
        packages = self._packages()
        in_hook = False
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            package = module.partition(".")[0]
            if package in packages:
                return packages[package]
            in_hook = in_hook or module == FACADE
            frame = frame.f_back
        return (self._called() or "") if in_hook else ""

    def _keep(self, plugin: str, fault: str) -> None:
        text = json.dumps({"plugin": plugin, "fault": fault, "at": now_us()})
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _describe_threads(frames: Mapping[int, FrameType]) -> str:
    names = {each.ident: each.name for each in threading.enumerate()}
    return "\n".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in frames.items()
    )
