"""What somebody asked the engine for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qrmd.model import Actor
from qrmd.store.connection import Transaction
from qrmd.workflow.kinds import WorkflowKind


@dataclass(frozen=True, slots=True)
class Request:
    """An operation to begin.

    Attributes:
        subject_id: 0 when ``create`` makes the subject.
        create: makes the subject in the transaction that begins the workflow; returns its id.
        key: idempotency over all callers; None: none.
        parent: the workflow whose step asks.
        secrets: values by name, sealed with the workflow.
    """

    kind: WorkflowKind
    subject_id: int
    arguments: Mapping[str, Any]
    actor: Actor
    reason: str = ""
    key: str | None = None
    parent: int | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    create: Callable[[Transaction], int] | None = None

    @property
    def subject(self) -> str:
        """``appliance:12``."""
        return f"{self.kind.subject_kind}:{self.subject_id}"


@dataclass(frozen=True, slots=True)
class Begun:
    """Move 1 has happened. ``existing``: the key was known, nothing was done."""

    workflow_id: int
    subject_id: int
    view: Any = None
    sealed: Mapping[int, bytes] = field(default_factory=dict)
    existing: bool = False
