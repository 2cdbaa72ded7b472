"""States of requests, their servers and mails: one enum and one table of edges each, a reason per edge."""

from __future__ import annotations

from enum import StrEnum

from qrmd.api import Edge


class RequestState(StrEnum):
    """What somebody ordered."""

    NEW = "new"  #: waits for an administrator
    APPROVED = "approved"  #: price frozen, CCUs held; waits for its start time or its turn
    PROVISIONING = "provisioning"  #: a cloud.provision workflow is live
    ACTIVE = "active"  #: its servers were handed over
    DEPROVISIONING = "deprovisioning"  #: a cloud.deprovision workflow is live
    DONE = "done"  #: was active, nothing is left
    DENIED = "denied"  #: an administrator said no
    CANCELLED = "cancelled"  #: given up before it was active
    EXPIRED = "expired"  #: its stop time came before it was active
    NO_RESOURCE = "no_resource"  #: did not fit; explained, never billed, tried again
    ERROR = "error"  #: needs an administrator; the reason is in the row and the last event


class ServerState(StrEnum):
    """One server of a request, as its user sees it."""

    NEW = "new"  #: ordered, not there
    ACTIVE = "active"  #: the guest answered
    STOPPED = "stopped"  #: stopped by order; disk and address are kept
    FAULTY = "faulty"  #: down or paused by our fault; not billed
    REMOVED = "removed"  #: gone, or never made


class MailState(StrEnum):
    """A mail that no workflow of a request carries."""

    QUEUED = "queued"  #: to be sent
    SENDING = "sending"  #: a cloud.mail workflow is live
    OWED = "owed"  #: the mail server did not take it yet: a visible debt of its workflow, retried
    SENT = "sent"  #: handed to the mail server
    ERROR = "error"  #: its workflow is stuck


R, S, M = RequestState, ServerState, MailState

REQUEST_EDGES = (
    Edge(R.NEW, R.APPROVED, "cloud.request.approve, or the policy approves by itself"),
    Edge(R.NEW, R.DENIED, "cloud.request.deny"),
    Edge(R.NEW, R.CANCELLED, "cloud.request.cancel"),
    Edge(R.NEW, R.EXPIRED, "its stop time came before an answer"),
    Edge(R.APPROVED, R.PROVISIONING, "its start time and its turn have come"),
    Edge(R.APPROVED, R.CANCELLED, "cloud.request.cancel"),
    Edge(R.APPROVED, R.EXPIRED, "its stop time came before its turn"),
    Edge(R.APPROVED, R.NO_RESOURCE, "refused before anything was made"),
    Edge(R.PROVISIONING, R.ACTIVE, "every server answered"),
    Edge(R.PROVISIONING, R.NO_RESOURCE, "undone: it did not fit"),
    Edge(R.PROVISIONING, R.CANCELLED, "undone: cancelled or de-provisioned meanwhile"),
    Edge(R.PROVISIONING, R.ERROR, "undone after a failure, or stuck"),
    Edge(R.NO_RESOURCE, R.PROVISIONING, "capacity may be free again"),
    Edge(R.NO_RESOURCE, R.CANCELLED, "cloud.request.cancel"),
    Edge(R.NO_RESOURCE, R.DENIED, "cloud.request.deny"),
    Edge(R.NO_RESOURCE, R.EXPIRED, "its stop time came before its turn"),
    Edge(R.ACTIVE, R.DEPROVISIONING, "cloud.request.deprovision, its stop time, or no CCUs after the grace"),
    Edge(R.DEPROVISIONING, R.DONE, "nothing is left"),
    Edge(R.DEPROVISIONING, R.ERROR, "stuck"),
    Edge(R.DEPROVISIONING, R.ACTIVE, "the plan was refused"),
    Edge(R.ERROR, R.APPROVED, "cloud.request.approve: try again"),
    Edge(R.ERROR, R.PROVISIONING, "the stuck step is retried"),
    Edge(R.ERROR, R.DEPROVISIONING, "cloud.request.deprovision, or the stuck step is retried"),
    Edge(R.ERROR, R.CANCELLED, "cloud.request.cancel: it was never active"),
)

SERVER_EDGES = (
    Edge(S.NEW, S.ACTIVE, "its appliance is active"),
    Edge(S.NEW, S.REMOVED, "never made"),
    Edge(S.ACTIVE, S.STOPPED, "its appliance was stopped"),
    Edge(S.ACTIVE, S.FAULTY, "its appliance is in error, paused or failing over"),
    Edge(S.ACTIVE, S.NEW, "provisioning was undone"),
    Edge(S.ACTIVE, S.REMOVED, "its appliance was removed"),
    Edge(S.STOPPED, S.ACTIVE, "its appliance is active again"),
    Edge(S.STOPPED, S.FAULTY, "its appliance could not be started"),
    Edge(S.STOPPED, S.NEW, "provisioning was undone"),
    Edge(S.STOPPED, S.REMOVED, "its appliance was removed"),
    Edge(S.FAULTY, S.ACTIVE, "its appliance is active again"),
    Edge(S.FAULTY, S.STOPPED, "its appliance was stopped"),
    Edge(S.FAULTY, S.NEW, "provisioning was undone"),
    Edge(S.FAULTY, S.REMOVED, "its appliance was removed"),
)

MAIL_EDGES = (
    Edge(M.QUEUED, M.SENDING, "cloud.mail"),
    Edge(M.SENDING, M.SENT, "handed over"),
    Edge(M.SENDING, M.OWED, "the mail server does not take it"),
    Edge(M.OWED, M.SENT, "handed over, later"),
    Edge(M.SENDING, M.QUEUED, "cancelled"),
    Edge(M.SENDING, M.ERROR, "stuck"),
    Edge(M.ERROR, M.SENDING, "retried"),
    Edge(M.ERROR, M.QUEUED, "the stuck workflow ended undone"),
)

RESERVED = ("approved", "provisioning", "active", "deprovisioning", "no_resource", "error")
"""Request states in which its servers count against the limits of its user."""

OPEN = ("new", *RESERVED)
"""Request states that are not the end."""

BILLED = ("active", "deprovisioning", "done", "error")
"""Request states in which what the meter says is billed; before, a failure may still undo all."""

_ALLOWED = {
    kind: frozenset((edge.source.value, edge.target.value) for edge in edges)
    for kind, edges in (("cloud_request", REQUEST_EDGES), ("cloud_server", SERVER_EDGES), ("cloud_mail", MAIL_EDGES))
}


def is_allowed(kind: str, source: str, target: str) -> bool:
    """Whether the state machine of ``kind`` has the edge ``source`` → ``target``."""
    return (source, target) in _ALLOWED[kind]
