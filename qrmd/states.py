"""All states and all transitions. No I/O, no other code assigns a state.

Each machine is one enum with a line of meaning per state and one table of edges, each edge with its reason.
``store/transitions.py`` applies an edge as compare-and-swap; the diagrams in ``docs/`` are generated from here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Edge(NamedTuple):
    """An allowed transition."""

    source: StrEnum
    target: StrEnum
    reason: str


class ResourceState(StrEnum):
    """A bootable machine."""

    NEW = "new"  #: known, never seen running
    BOOTING = "booting"  #: power is on, not heard of yet
    IDLE = "idle"  #: runs the idle system, unassigned
    ASSIGNED = "assigned"  #: reserved for an appliance, not running it yet
    ACTIVE = "active"  #: runs an appliance
    OFF = "off"  #: known to be powered off
    LOST = "lost"  #: neither seen alive nor proven off
    ERROR = "error"  #: needs a human
    REMOVED = "removed"  #: gone; kept for the history


class ApplianceState(StrEnum):
    """A service definition and what runs of it."""

    STOPPED = "stopped"  #: nothing runs; disk and addresses are kept
    STARTING = "starting"  #: a start workflow is live
    ACTIVE = "active"  #: the guest answered after its seed was applied
    STOPPING = "stopping"  #: a stop workflow is live
    RESTARTING = "restarting"  #: a restart workflow is live
    UPDATING = "updating"  #: an update workflow is live
    MIGRATING = "migrating"  #: a migration workflow is live
    FAILING_OVER = "failing_over"  #: a failover workflow is live
    PAUSED = "paused"  #: the machine exists but its processors stand still (disk full, by request)
    ERROR = "error"  #: a workflow is stuck, or the machine vanished; the reason is in the last event
    REMOVING = "removing"  #: a remove workflow is live
    REMOVED = "removed"  #: gone; kept for the history


class ImageState(StrEnum):
    """A root file system or disk held on a storage."""

    NEW = "new"  #: row made, content not there yet
    IDLE = "idle"  #: usable
    CLONING = "cloning"  #: content is being made or changed by a workflow
    ERROR = "error"  #: content is not to be trusted
    REMOVING = "removing"  #: a remove workflow is live
    REMOVED = "removed"  #: gone; kept for the history


class HostState(StrEnum):
    """A resource that runs virtual machines."""

    NEW = "new"  #: added, never reached
    UP = "up"  #: reachable, takes new machines
    MAINTENANCE = "maintenance"  #: reachable, takes none
    UNREACHABLE = "unreachable"  #: does not answer; what runs there is unknown
    FENCED = "fenced"  #: proven off
    REMOVED = "removed"  #: gone; kept for the history


class WorkflowState(StrEnum):
    """A plan being run."""

    PLANNING = "planning"  #: holds reservations, has no steps yet
    RUNNING = "running"  #: steps are being done
    UNDOING = "undoing"  #: done steps are being undone in reverse
    STUCK = "stuck"  #: one step needs a human: retry, skip or abandon
    DONE = "done"  #: every step done; some may remain as debts
    UNDONE = "undone"  #: nothing of it is left
    ABANDONED = "abandoned"  #: a human ended it; leftovers are owned rows


class StepState(StrEnum):
    """One step of a workflow."""

    PENDING = "pending"  #: not begun
    RUNNING = "running"  #: intent written; after a crash the outcome is unknown
    WAITING = "waiting"  #: asked to be called again at ``wake_at``
    DONE = "done"  #: done
    DEBT = "debt"  #: failed, but ``on_failure=later``: retried until paid
    FAILED = "failed"  #: gave up
    UNDOING = "undoing"  #: undo begun
    UNDONE = "undone"  #: undone, or never done
    SKIPPED = "skipped"  #: a human said to go on without it
    OWED = "owed"  #: counts as done while its host is fenced; really done before that host is admitted again


class PluginState(StrEnum):
    """What the admin decided about an installed plugin."""

    INSTALLED = "installed"  #: its distribution is there
    ENABLED = "enabled"  #: its tables exist, its code does not run
    STARTED = "started"  #: its hooks are called
    QUARANTINED = "quarantined"  #: it failed; its fault is shown, its hooks are not called


R, A, M, H, W, P = ResourceState, ApplianceState, ImageState, HostState, WorkflowState, PluginState

RESOURCE_EDGES = (
    Edge(R.NEW, R.ASSIGNED, "reserved for an appliance"),
    Edge(R.NEW, R.BOOTING, "power on"),
    Edge(R.NEW, R.OFF, "seen powered off"),
    Edge(R.BOOTING, R.IDLE, "registered from the idle system"),
    Edge(R.BOOTING, R.ACTIVE, "its appliance answered"),
    Edge(R.BOOTING, R.ERROR, "did not come up before its deadline"),
    Edge(R.BOOTING, R.OFF, "switched off"),
    Edge(R.IDLE, R.ASSIGNED, "reserved for an appliance"),
    Edge(R.IDLE, R.OFF, "switched off"),
    Edge(R.IDLE, R.LOST, "no heartbeat"),
    Edge(R.ASSIGNED, R.BOOTING, "power on"),
    Edge(R.ASSIGNED, R.ACTIVE, "its appliance answered"),
    Edge(R.ASSIGNED, R.IDLE, "assignment released"),
    Edge(R.ASSIGNED, R.OFF, "assignment released"),
    Edge(R.ASSIGNED, R.REMOVED, "virtual machine taken down"),
    Edge(R.ASSIGNED, R.ERROR, "workflow stuck"),
    Edge(R.ACTIVE, R.OFF, "switched off"),
    Edge(R.ACTIVE, R.LOST, "neither seen nor proven off"),
    Edge(R.ACTIVE, R.IDLE, "appliance stopped"),
    Edge(R.ACTIVE, R.ERROR, "workflow stuck"),
    Edge(R.ACTIVE, R.REMOVED, "virtual machine taken down"),
    Edge(R.OFF, R.BOOTING, "power on"),
    Edge(R.OFF, R.ASSIGNED, "reserved for an appliance"),
    Edge(R.OFF, R.ACTIVE, "seen running"),
    Edge(R.OFF, R.REMOVED, "removed"),
    Edge(R.LOST, R.ACTIVE, "seen again"),
    Edge(R.LOST, R.IDLE, "seen again"),
    Edge(R.LOST, R.OFF, "proven off"),
    Edge(R.LOST, R.ERROR, "given up"),
    Edge(R.LOST, R.REMOVED, "virtual machine taken down"),
    Edge(R.ERROR, R.IDLE, "repaired"),
    Edge(R.ERROR, R.OFF, "repaired"),
    Edge(R.ERROR, R.ACTIVE, "repaired"),
    Edge(R.ERROR, R.REMOVED, "removed"),
    Edge(R.NEW, R.REMOVED, "removed"),
    Edge(R.IDLE, R.REMOVED, "removed"),
    Edge(R.BOOTING, R.REMOVED, "virtual machine taken down"),
)

APPLIANCE_EDGES = (
    Edge(A.STOPPED, A.STARTING, "appliance.start"),
    Edge(A.STARTING, A.ACTIVE, "start done"),
    Edge(A.STARTING, A.STOPPED, "start undone"),
    Edge(A.STARTING, A.ERROR, "start stuck"),
    Edge(A.ACTIVE, A.STOPPING, "appliance.stop"),
    Edge(A.PAUSED, A.STOPPING, "appliance.stop"),
    Edge(A.STARTING, A.STOPPING, "appliance.stop took over a start"),
    Edge(A.STOPPING, A.STOPPED, "stop done"),
    Edge(A.STOPPING, A.ERROR, "stop stuck"),
    Edge(A.ACTIVE, A.RESTARTING, "appliance.restart"),
    Edge(A.PAUSED, A.RESTARTING, "appliance.restart"),
    Edge(A.RESTARTING, A.ACTIVE, "restart done"),
    Edge(A.RESTARTING, A.ERROR, "restart failed or stuck"),
    Edge(A.STOPPED, A.UPDATING, "appliance.update"),
    Edge(A.UPDATING, A.STOPPED, "update done or undone"),
    Edge(A.UPDATING, A.ERROR, "update stuck"),
    Edge(A.ACTIVE, A.MIGRATING, "appliance.migrate"),
    Edge(A.MIGRATING, A.ACTIVE, "migration done or undone"),
    Edge(A.MIGRATING, A.ERROR, "migration stuck"),
    Edge(A.ACTIVE, A.FAILING_OVER, "ha.failover"),
    Edge(A.ERROR, A.FAILING_OVER, "ha.failover"),
    Edge(A.FAILING_OVER, A.ACTIVE, "failover done"),
    Edge(A.FAILING_OVER, A.ERROR, "failover stuck"),
    Edge(A.ACTIVE, A.PAUSED, "the hypervisor paused it (disk full) or an admin did"),
    Edge(A.PAUSED, A.ACTIVE, "resumed"),
    Edge(A.ACTIVE, A.ERROR, "the machine ended or vanished without an order"),
    Edge(A.PAUSED, A.ERROR, "the machine ended or vanished without an order"),
    Edge(A.ERROR, A.ACTIVE, "seen running again, or the stuck step was retried"),
    Edge(A.ERROR, A.STARTING, "appliance.start, or a stuck start is retried"),
    Edge(A.ERROR, A.STOPPING, "appliance.stop, or a stuck stop is retried"),
    Edge(A.ERROR, A.RESTARTING, "a stuck restart is retried"),
    Edge(A.ERROR, A.UPDATING, "a stuck update is retried"),
    Edge(A.ERROR, A.MIGRATING, "a stuck migration is retried"),
    Edge(A.ERROR, A.STOPPED, "the stuck workflow ended undone or was abandoned with nothing left"),
    Edge(A.STOPPED, A.REMOVING, "appliance.remove"),
    Edge(A.ERROR, A.REMOVING, "appliance.remove, or a stuck remove is retried"),
    Edge(A.REMOVING, A.REMOVED, "remove done"),
    Edge(A.REMOVING, A.ERROR, "remove stuck"),
)

IMAGE_EDGES = (
    Edge(M.NEW, M.CLONING, "image.import or image.clone"),
    Edge(M.NEW, M.IDLE, "image.add: the volume was there already"),
    Edge(M.NEW, M.REMOVED, "import or clone refused"),
    Edge(M.CLONING, M.IDLE, "content there and checked"),
    Edge(M.CLONING, M.REMOVED, "import or clone undone"),
    Edge(M.CLONING, M.ERROR, "workflow stuck"),
    Edge(M.IDLE, M.CLONING, "image.resize"),
    Edge(M.ERROR, M.CLONING, "the stuck step is retried"),
    Edge(M.ERROR, M.IDLE, "repaired"),
    Edge(M.IDLE, M.REMOVING, "image.remove"),
    Edge(M.ERROR, M.REMOVING, "image.remove"),
    Edge(M.REMOVING, M.REMOVED, "remove done"),
    Edge(M.REMOVING, M.ERROR, "remove stuck"),
)

HOST_EDGES = (
    Edge(H.NEW, H.UP, "reached"),
    Edge(H.NEW, H.UNREACHABLE, "not reached"),
    Edge(H.UP, H.UNREACHABLE, "no answer within its deadline"),
    Edge(H.UP, H.MAINTENANCE, "host.maintenance on"),
    Edge(H.MAINTENANCE, H.UP, "host.maintenance off"),
    Edge(H.MAINTENANCE, H.UNREACHABLE, "no answer within its deadline"),
    Edge(H.UNREACHABLE, H.UP, "answers again"),
    Edge(H.UNREACHABLE, H.MAINTENANCE, "host.maintenance on"),
    Edge(H.UNREACHABLE, H.FENCED, "host.declare_fenced: proven off"),
    Edge(H.FENCED, H.UP, "host.admit: what was owed there is done"),
    Edge(H.NEW, H.REMOVED, "host.remove"),
    Edge(H.UP, H.REMOVED, "host.remove"),
    Edge(H.MAINTENANCE, H.REMOVED, "host.remove"),
    Edge(H.UNREACHABLE, H.REMOVED, "host.remove"),
    Edge(H.FENCED, H.REMOVED, "host.scrap"),
)

WORKFLOW_EDGES = (
    Edge(W.PLANNING, W.RUNNING, "frozen"),
    Edge(W.PLANNING, W.UNDONE, "the plan was refused; reservations released"),
    Edge(W.RUNNING, W.DONE, "every step done"),
    Edge(W.RUNNING, W.UNDOING, "a step failed or workflow.cancel"),
    Edge(W.RUNNING, W.STUCK, "a step of a plan that never compensates gave up"),
    Edge(W.UNDOING, W.UNDONE, "everything undone"),
    Edge(W.UNDOING, W.STUCK, "an undo gave up"),
    Edge(W.STUCK, W.RUNNING, "workflow.retry or workflow.skip"),
    Edge(W.STUCK, W.UNDOING, "workflow.retry or workflow.skip"),
    Edge(W.STUCK, W.ABANDONED, "workflow.abandon"),
)

PLUGIN_EDGES = (
    Edge(P.INSTALLED, P.ENABLED, "plugin.enable"),
    Edge(P.ENABLED, P.INSTALLED, "plugin.disable"),
    Edge(P.ENABLED, P.STARTED, "plugin.start"),
    Edge(P.STARTED, P.ENABLED, "plugin.stop"),
    Edge(P.STARTED, P.QUARANTINED, "it failed"),
    Edge(P.ENABLED, P.QUARANTINED, "it failed to start"),
    Edge(P.QUARANTINED, P.STARTED, "plugin.start"),
    Edge(P.QUARANTINED, P.ENABLED, "plugin.stop"),
)

MACHINES: dict[str, tuple[type[StrEnum], tuple[Edge, ...]]] = {
    "resource": (ResourceState, RESOURCE_EDGES),
    "appliance": (ApplianceState, APPLIANCE_EDGES),
    "image": (ImageState, IMAGE_EDGES),
    "host": (HostState, HOST_EDGES),
    "workflow": (WorkflowState, WORKFLOW_EDGES),
    "plugin": (PluginState, PLUGIN_EDGES),
}

_ALLOWED = {kind: {(edge.source, edge.target) for edge in edges} for kind, (_, edges) in MACHINES.items()}


def is_allowed(kind: str, source: str, target: str) -> bool:
    """Whether the state machine of ``kind`` has the edge ``source`` → ``target``."""
    return (source, target) in _ALLOWED[kind]
