"""A plan: ordered steps as data. A closure can't survive a crash; a row can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

from qrmd.errors import PreconditionFailed


class Phase(IntEnum):
    """When a step happens in a start plan; stop plans mirror the order."""

    FENCE = 0
    STORAGE = 1
    NETWORK = 2
    DNS = 3
    BOOT = 4
    POWER = 5
    WAIT = 6
    CONFIGURE = 7
    MONITOR = 8
    ANNOUNCE = 9


class OnFailure(StrEnum):
    """What the failure of a step means for the workflow."""

    UNDO = "undo"  #: compensate all of it
    LATER = "later"  #: go on; the step stays as a visible debt that is retried


@dataclass(frozen=True, slots=True)
class Owned:
    """A thing that a step will make outside; its row is written with the intent.

    ``place`` as in ``drivers.Found``; ``external_id`` must be known before the deed.
    """

    kind: str
    external_id: str
    place: str


@dataclass(frozen=True, slots=True)
class Step:
    """One deed of a plan.

    Attributes:
        action: name of a registered action, ``<plugin>.<verb>``.
        args: JSON; never a secret's value, only ``secret:<id>``.
        phase: when.
        title: one line for people, ``clone disk of web-1 from debian-12``.
        provides: names of slots its result publishes (``disk.0``).
        needs: slots that must have been published before.
        owns: what it makes outside.
        disowns: what of ours is gone outside once it is done.
        place: ``host:1`` when it works on that host only. While that host is fenced, undoing it, or doing it in a
            plan that takes away, counts as done; it is owed and really done before the host is admitted again.
            What makes or awaits something there and fails is not tried again then.
        version: of the action's argument shape.
        plugin: filled in by the facade.
    """

    action: str
    args: Mapping[str, Any]
    phase: Phase
    title: str
    provides: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.UNDO
    owns: tuple[Owned, ...] = ()
    disowns: tuple[Owned, ...] = ()
    place: str = ""
    version: int = 1
    plugin: str = "core"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will happen, shown before it does.

    Attributes:
        operation: ``appliance.start``.
        subject: ``appliance:12``.
        steps: in order.
        facts: what the reservations chose (host, addresses, price, …), for people and programs.
        compensates: a failure undoes all; otherwise what takes away is tried again, and in the end a human is asked.
    """

    operation: str
    subject: str
    steps: tuple[Step, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    compensates: bool = True

    def as_dict(self) -> dict[str, Any]:
        """JSON shape of a dry run. ``on_failure`` of a step is ``undo``, ``retry`` or ``later``."""
        becomes = {OnFailure.UNDO: "undo" if self.compensates else "retry", OnFailure.LATER: "later"}
        return {
            "operation": self.operation,
            "subject": self.subject,
            "facts": dict(self.facts),
            "steps": [
                {
                    "action": step.action,
                    "plugin": step.plugin,
                    "phase": step.phase.name.lower(),
                    "title": step.title,
                    "on_failure": becomes[step.on_failure],
                }
                for step in self.steps
            ],
        }


class PlanError(PreconditionFailed):
    """A plan that can't be: a need nobody provides for certain, a cycle, two providers of one slot, no host."""


def arrange(steps: Iterable[Step], *, mirrored: bool = False) -> tuple[Step, ...]:
    """Order steps by phase, then by need, then by plugin name; stable otherwise.

    Args:
        steps: from all planners.
        mirrored: stop plans run the phases backwards.

    Raises:
        PlanError: a missing or cyclic need, a slot provided twice or by a step that may come later, a host without id.
    """
    by_phase = sorted(map(_signed, steps), key=lambda step: (-step.phase if mirrored else step.phase, step.plugin))
    provider = _providers(by_phase)
    arranged: list[Step] = []
    placed: set[int] = set()

    def place(index: int, path: tuple[int, ...]) -> None:
        if index in placed:
            return
        step = by_phase[index]
        if index in path:
            raise PlanError(f"steps need each other in a circle: {step.action}")
        for slot in step.needs:
            if slot not in provider:
                raise PlanError(f"step {step.action} needs {slot}, which no step provides")
            place(provider[slot], (*path, index))
        placed.add(index)
        arranged.append(step)

    for index in range(len(by_phase)):
        place(index, ())
    return tuple(arranged)


def _signed(step: Step) -> Step:
    """What a plugin's own kind of workflow planned is signed with whose action it is: it needs that plugin."""
    owner = step.action.partition(".")[0]
    return step if step.plugin != "core" or owner == "core" else replace(step, plugin=owner)


def _providers(steps: Sequence[Step]) -> dict[str, int]:
    provider: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.place.startswith("host:") and not step.place.removeprefix("host:").isdecimal():
            raise PlanError(f"step {step.action} is at {step.place!r}; a host is named by its id, as host:1")
        for slot in step.provides:
            if step.on_failure is OnFailure.LATER:
                raise PlanError(f"step {step.action} may come later, so it can't provide {slot}")
            if slot in provider:
                raise PlanError(f"slot {slot} is provided twice: {steps[provider[slot]].action}, {step.action}")
            provider[slot] = index
    return provider


def from_plugin(steps: Iterable[Step], plugin: str) -> list[Step]:
    """The steps, signed with the plugin that planned them."""
    return [step if step.plugin == plugin else replace(step, plugin=plugin) for step in steps]
