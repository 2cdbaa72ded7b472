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
class Parts:
    """The engine's surroundings, wired in the composition root.

    Attributes:
        actions: registered actions by name; plugins come and go, so look it up at each use.
        kinds: registered operations by name.
        ask: calls a verb for a step.
        abort: makes hung calls of a lane end (kills their connection); from any thread.
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
