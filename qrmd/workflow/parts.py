"""What the engine is built from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qrmd.hooks.calls import Hooks
from qrmd.model import Actor
from qrmd.store.database import Store
from qrmd.threads import Lanes
from qrmd.timers import Timers
from qrmd.vault import Vault
from qrmd.workflow.action import Action
from qrmd.workflow.kinds import WorkflowKind

Ask = Callable[[Actor, str, Mapping[str, Any], Mapping[str, Any], int], Awaitable[Any]]
"""(actor, verb, arguments by name, options, parent workflow) → the verb's answer."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """Times in seconds.

    Attributes:
        first_pause: before the second attempt; it doubles up to ``longest_pause``.
        grace: that a call gets to end after its connection was killed.
        plugin_pause: between two looks whether a plugin was started.
        recovery: that a step under way gets at least after a restart.
        undo_attempts: of one step, then a human is asked.
        failures: of the engine itself in one workflow, then a human is asked.
    """

    first_pause: float = 0.5
    longest_pause: float = 60.0
    grace: float = 30.0
    plugin_pause: float = 2.0
    recovery: float = 60.0
    undo_attempts: int = 8
    failures: int = 5

    def pause(self, attempts: int) -> float:
        """Until the next attempt."""
        return min(self.longest_pause, self.first_pause * 2.0 ** min(max(attempts - 1, 0), 16))


@dataclass(frozen=True, slots=True)
class Parts:
    """The engine's surroundings, wired in the composition root.

    Attributes:
        actions: registered actions by name; plugins come and go, so look it up at each use.
        kinds: registered operations by name.
        ask: calls a verb for a step.
        abort: makes hung calls of a lane end (kills their connection); from any thread.
        pacing: how patient the engine is.
    """

    store: Store
    hooks: Hooks
    actions: Mapping[str, Action]
    kinds: Mapping[str, WorkflowKind]
    lanes: Lanes
    vault: Vault
    clock: Timers
    ask: Ask
    abort: Callable[[str], None]
    pacing: Pacing = Pacing()
