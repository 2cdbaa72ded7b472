"""A workflow in memory: what the journal's rows say, for the engine to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from qrmd.states import StepState, WorkflowState
from qrmd.timers import Timer
from qrmd.workflow.kinds import WorkflowKind
from qrmd.workflow.plan import Step

_ENDED = frozenset({StepState.DONE, StepState.DEBT, StepState.SKIPPED, StepState.OWED})
_UNTOUCHED = frozenset({StepState.PENDING, StepState.UNDONE, StepState.SKIPPED, StepState.OWED})


class Begin(NamedTuple):
    """How an attempt of a step begins: which it is, when the first began, until when it may last (µs)."""

    attempts: int
    began_at: int
    deadline: int


@dataclass(slots=True)
class LiveStep:
    """One step's row, its plan, and how far it is."""

    id: int
    position: int
    step: Step
    state: StepState = StepState.PENDING
    attempts: int = 0
    began_at: int = 0
    deadline: int = 0
    wake_at: int = 0
    note: str = ""
    fault: Mapping[str, Any] = field(default_factory=dict)

    def begin(self, begin: Begin) -> None:
        """An attempt begins."""
        self.state, self.note, self.wake_at = StepState.RUNNING, "", 0
        self.attempts, self.began_at, self.deadline = begin

    @property
    def ended(self) -> bool:
        """Nothing more to do for it on the way forward."""
        return self.state in _ENDED

    @property
    def given_up(self) -> bool:
        """It failed and is not retried by itself."""
        return self.state is StepState.FAILED and not self.wake_at

    @property
    def touched(self) -> bool:
        """It may have changed something outside."""
        return self.state not in _UNTOUCHED


@dataclass(slots=True)
class LiveWorkflow:
    """One live workflow.

    Attributes:
        sealed: its secrets and those its arguments name, still encrypted.
        carried: steps that are done, and their results, before their rows say so: written with the next write.
        intended: its first step, when its intent was written with the plan and it was not attempted yet.
        current: the step that was attempted last.
        timer: when it is looked at again.
        running: it is being driven, or waits for its turn.
        wake: something happened to it meanwhile.
        failures: of the engine itself since the last step that went well.
    """

    id: int
    kind: WorkflowKind
    subject_id: int
    arguments: Mapping[str, Any]
    actor: str
    reason: str
    state: WorkflowState
    parent: int | None = None
    steps: list[LiveStep] = field(default_factory=list)
    slots: dict[str, Any] = field(default_factory=dict)
    sealed: Mapping[int, bytes] = field(default_factory=dict)
    fault: Mapping[str, Any] = field(default_factory=dict)
    cancel: bool = False
    running: bool = False
    wake: bool = False
    failures: int = 0
    waiters: list[Deferred[None]] = field(default_factory=list)
    carried: tuple[tuple[LiveStep, Mapping[str, Any]], ...] = ()
    intended: LiveStep | None = None
    current: LiveStep | None = None
    timer: Timer | None = None

    @property
    def subject(self) -> str:
        """``appliance:12``."""
        return f"{self.kind.subject_kind}:{self.subject_id}"

    @property
    def undoing(self) -> bool:
        """It is on its way back."""
        return self.state is WorkflowState.UNDOING

    @property
    def owing(self) -> list[LiveStep]:
        """Its debts."""
        return [step for step in self.steps if step.state is StepState.DEBT]
