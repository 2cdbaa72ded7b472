"""The plugin's operations: provision, de-provision, and mails that travel alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrmd.api import Db, Journey, OnFailure, Phase, Step, Transaction, WorkflowKind, now_us
from qrmd_cloud import mail, vault
from qrmd_cloud.lease import need
from qrmd_cloud.mail import Template
from qrmd_cloud.model import MarkKind, Request, Server
from qrmd_cloud.money import show
from qrmd_cloud.rules import RuleBook
from qrmd_cloud.states import RequestState, ServerState
from qrmd_cloud.store import bills, ledger, letters, mails, meter, requests, servers, users

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RequestView:
    """What the planners of a request see."""

    request: Request
    servers: tuple[Server, ...]
    owner: str
    passwords: Mapping[str, str]
    held_micro: int
    letter: Mapping[str, Any]


class Kinds:
    """The workflow kinds, with the rules and templates they need."""

    def __init__(self, rules: RuleBook, templates: Mapping[str, Template]) -> None:
        self._rules = rules
        self._templates = templates

    def all(self) -> list[WorkflowKind]:
        """What the plugin registers."""
        return [self._provision(), self._deprovision(), self._mail()]

    # ------------------------------------------------------------ provision

    def _provision(self) -> WorkflowKind:
        return WorkflowKind(
            operation="cloud.provision",
            subject_kind=requests.KIND,
            journey=Journey(("approved", "no_resource"), "provisioning", "active", None, "error"),
            reserve=self.reserve,
            view=self._view_provision,
            plan=lambda _hooks, view: plan_provision(view),
            facts=facts,
            complete=self.complete,
            release=self.release,
            done_event="cloud_request.activated",
        )

    def reserve(self, db: Transaction, ident: int, _arguments: Arguments, workflow: int) -> None:
        """Hold the CCUs of the lease, and make the passwords."""
        request, now = requests.get(db, ident), now_us()
        ledger.hold(db, request, need(request, request.quantity, now, self._rules.now))
        requests.put(
            db,
            ident,
            placing=1,
            attempts=request.attempts + 1,
            tried_at=now,
            workflow_id=workflow,
            wish="",
            cause="",
            explanation={},
        )
        if not request.ssh_key:
            for server in servers.of_request(db, ident):
                vault.keep(db, workflow, f"password.{server.number}", vault.make_password())

    def _view_provision(self, db: Db, ident: int, _arguments: Arguments, workflow: int) -> RequestView:
        named = vault.named(db, workflow)
        passwords = {name.removeprefix("password."): reference for name, reference in named.items()}
        return self._view(db, requests.get(db, ident), passwords, "active", self._access(db, ident, passwords))

    def _access(self, db: Db, ident: int, passwords: Mapping[str, str]) -> dict[str, Any]:
        return {
            "servers": mail.slot("servers"),
            "passwords": {
                server.hostname: mail.secret(passwords[str(server.number)])
                for server in servers.of_request(db, ident)
                if str(server.number) in passwords
            },
            "portal_url": self._rules.now.portal_url,
        }

    def _view(
        self, db: Db, request: Request, passwords: Mapping[str, str], template: str, more: Mapping[str, Any]
    ) -> RequestView:
        user = users.get(db, request.user_id)
        variables = letters.variables(db, request) | dict(more)
        return RequestView(
            request,
            tuple(servers.of_request(db, request.id)),
            f"cloud:{user.name}" if user else "",
            passwords,
            ledger.hold_of(db, request.id),
            mail.arguments(self._templates[template], letters.recipient(db, request), variables),
        )

    def complete(self, db: Transaction, ident: int, _arguments: Arguments, _workflow: int) -> None:
        """The request is about to be active: what the meters say is billed from now on."""
        for server in servers.of_request(db, ident):
            if server.state is ServerState.NEW:  # its event may still be on the way
                servers.move(db, server, ServerState.ACTIVE, "it answered")
        requests.put(db, ident, placing=0, cause="", explanation={}, active_at=now_us(), due_at=0)

    def release(self, db: Transaction, ident: int, _arguments: Arguments, workflow: int) -> None:
        """Undone, or refused before it began: the CCUs are free again, the meters never ran."""
        request, now = requests.get(db, ident), now_us()
        requests.put(db, ident, placing=0)
        if request.state is not RequestState.APPROVED:
            ledger.give_back(db, ident)
        if request.state is not RequestState.PROVISIONING:
            return
        for server in servers.of_request(db, ident):
            servers.reset(db, server, now, "provisioning was undone")
        self._retreat(db, request, workflow)

    def _retreat(self, db: Transaction, request: Request, workflow: int) -> None:
        if request.wish:
            servers.drop_all(db, request.id, "given up while it was being provisioned")
            requests.put(db, request.id, ended_at=now_us())
            requests.move(db, request.id, RequestState.CANCELLED, workflow_id=workflow)
            return
        fault = request.explanation or {"message": "the workflow was cancelled"}
        requests.put(db, request.id, explanation=fault)
        if request.cause == "no_resource":
            requests.move(db, request.id, RequestState.NO_RESOURCE, workflow_id=workflow, data={"fault": fault})
            letters.no_resource(db, request, fault)
        else:
            requests.move(db, request.id, RequestState.ERROR, workflow_id=workflow, data={"fault": fault})

    # ------------------------------------------------------------ de-provision

    def _deprovision(self) -> WorkflowKind:
        return WorkflowKind(
            operation="cloud.deprovision",
            subject_kind=requests.KIND,
            journey=Journey(("active", "error"), "deprovisioning", "done", None, "error"),
            reserve=self.accept_stop,
            view=self._view_deprovision,
            plan=lambda _hooks, view: plan_deprovision(view),
            facts=facts,
            complete=self.close,
            release=self.reopen,
            compensates=False,
            done_event="cloud_request.done",
        )

    def accept_stop(self, db: Transaction, ident: int, _arguments: Arguments, workflow: int) -> None:
        """Billing ends here, with the final line."""
        now = now_us()
        for server in servers.of_request(db, ident):
            meter.mark(db, server.id, now, MarkKind.OFF, "stop accepted")
        bills.settle(db, ident, now, self._rules.now, whole=True)
        requests.put(db, ident, workflow_id=workflow)

    def _view_deprovision(self, db: Db, ident: int, arguments: Arguments, _workflow: int) -> RequestView:
        return self._view(db, requests.get(db, ident), {}, "done", {"why": arguments.get("why", "")})

    def close(self, db: Transaction, ident: int, _arguments: Arguments, _workflow: int) -> None:
        """Nothing is left outside: meters end, the hold goes."""
        now = now_us()
        for server in servers.of_request(db, ident):
            meter.mark(db, server.id, now, MarkKind.END, "given back")
        servers.drop_all(db, ident, "given back")
        bills.settle(db, ident, now, self._rules.now, whole=True)
        ledger.give_back(db, ident)
        requests.put(db, ident, ended_at=now, wish="")

    def reopen(self, db: Transaction, ident: int, _arguments: Arguments, _workflow: int) -> None:
        """The plan was refused: what runs is paid for again."""
        for server in servers.of_request(db, ident):
            if server.state is ServerState.ACTIVE:
                meter.mark(db, server.id, now_us(), MarkKind.ON, "the stop was refused")

    # ------------------------------------------------------------ mails

    def _mail(self) -> WorkflowKind:
        return WorkflowKind(
            operation="cloud.mail",
            subject_kind=mails.KIND,
            journey=Journey(("queued",), "sending", "sent", "queued", "error", owing="owed"),
            view=lambda db, ident, _arguments, _workflow: mails.get(db, ident),
            plan=lambda _hooks, view: [
                send(mail.arguments(self._templates[view.template], view.recipient, view.variables))
            ],
        )


def plan_provision(view: RequestView) -> Sequence[Step]:
    """Make the servers, then tell their user."""
    names = ", ".join(server.hostname for server in view.servers)
    make = Step(
        action="cloud.make_servers",
        args={"request": view.request.id, "owner": view.owner, "passwords": dict(view.passwords)},
        phase=Phase.POWER,
        title=f"start {names}",
        provides=("servers",),
    )
    return [make, send(view.letter, needs=("servers",))]


def plan_deprovision(view: RequestView) -> Sequence[Step]:
    """Take the servers back, then tell their user."""
    names = ", ".join(server.hostname for server in view.servers) or "nothing"
    remove = Step("cloud.remove_servers", {"request": view.request.id}, Phase.POWER, f"stop and remove {names}")
    return [remove, send(view.letter)]


def send(letter: Mapping[str, Any], needs: tuple[str, ...] = ()) -> Step:
    """The step that mails a letter; a mail server that is away leaves a debt."""
    title = f"mail {letter['to']}: {letter['subject']}"
    return Step("mail.send", letter, Phase.ANNOUNCE, title, needs=needs, on_failure=OnFailure.LATER)


def facts(view: RequestView) -> dict[str, Any]:
    """For people, beside the steps."""
    return {
        "request": view.request.id,
        "servers": [server.hostname for server in view.servers],
        "price_per_server_hour": show(view.request.price_micro),
        "held": show(view.held_micro),
    }
