"""The main job: two servers from order to nothing left, through the public interfaces only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmd.errors import StepFailed
from qrmd.testing.demo import arrangement, orphan
from qrmd.testing.demo.arrangement import Account
from qrmd.testing.demo.clients import Client, check_done
from qrmd.testing.demo.evidence import Scene, Trace, count
from qrmd.testing.demo.letters import await_letter
from qrmd.testing.demo.logins import log_in
from qrmd.testing.demo.order import WANTED, activate, follow
from qrmd.testing.demo.screen import Screen
from qrmd.testing.lab import LabAccess
from qrmd.testing.waiting import wait_until

BILLED_SECONDS = 3


@dataclass(slots=True)
class Result:
    """What came of it; the keys of the last line."""

    ok: bool = False
    servers: int = 0
    seconds_to_active: float = 0.0
    ssh_logins: int = 0
    ccu_billed: str = "0"
    leftovers: int = 0


class Job:
    """Acts it, and shows what it does.

    Attributes:
        result: as far as it has come.
        account: the cloud user, once there is one.
    """

    def __init__(self, screen: Screen, access: LabAccess, directory: Path, admin: Client) -> None:
        self.result = Result()
        self.account = Account("", "")
        self._screen = screen
        self._access = access
        self._directory = directory
        self._volumes = directory / "volumes"
        self._admin = admin
        self._scene = Scene(access, self._volumes, directory / "state")

    def prepare(self) -> None:
        """What anybody needs before the first order. Raises StepFailed with what went wrong."""
        self._screen.head("The administrator prepares")
        arrangement.start_plugins(self._admin, self._screen.tell)
        self.account = arrangement.arrange(self._admin, self._access, self._volumes, self._screen.tell)

    def act(self, rpc_url: str, ca_file: Path) -> None:
        """From a prepared daemon back to one. Raises StepFailed with what went wrong."""
        screen, result = self._screen, self.result
        self._scene.remember()
        user = Client(rpc_url, self.account.name, self.account.password, ca_file)
        request = self._order(user)
        screen.head("The administrator approves; the workflow runs")
        active = activate(self._admin, user, request, screen.step)
        result.servers, result.seconds_to_active = len(active.servers), round(active.seconds, 1)
        screen.tell(f"{result.servers} servers are active, {result.seconds_to_active} s after the approval")
        self._log_in()
        screen.head("The bill")
        self._run_up_a_bill(user)
        self._show_bill(user, request)
        self._give_back(user, request)
        self._sweep()
        self._check_sweep()
        result.ok = True

    def _order(self, user: Client) -> int:
        screen = self._screen
        screen.head(f"{user.name} looks at the plan, and orders")
        plan = user.call("cloud.request.plan", WANTED)
        show_plan(screen, plan)
        if not plan["placement"]["fits"] or plan["objections"]:
            raise StepFailed("the order can't be served", subject="cloud.request.plan")
        request: int = user.call("cloud.request.create", WANTED)
        screen.tell(f"cloud.request.create: request {request} waits for approval")
        return request

    def _log_in(self) -> None:
        screen = self._screen
        screen.head("The user reads the mail and logs in")
        letter = await_letter(self._access.mail_dir, arrangement.MAIL, "are ready")
        screen.quote(f"To: {letter.to}   Subject: {letter.subject}", letter.shown)
        for login in letter.logins:
            said = log_in(self._access, login, self._directory / "known_hosts")
            self.result.ssh_logins += 1
            screen.tell(f"ssh {login.user}@{login.address} (password from the mail): {said}")
        if self.result.ssh_logins != WANTED["quantity"]:
            raise StepFailed(f"the mail tells {self.result.ssh_logins} logins", subject="mail")

    def _run_up_a_bill(self, user: Client) -> None:
        """Seconds are billed whole: wait for some of each server."""

        def is_worth_it() -> bool:
            account = user.call("cloud.account.get")
            return float(account["unbilled"]) >= float(account["price_per_hour"]) * BILLED_SECONDS / 3600

        wait_until(is_worth_it, timeout=60, interval=0.2, what="a bill")

    def _show_bill(self, user: Client, request: int) -> None:
        screen = self._screen
        account = user.call("cloud.account.get")
        names = ("balance", "held", "available", "unbilled", "price_per_hour")
        screen.table("Account", names, [[account[name] for name in names]])
        columns = ("kind", "reason", "request", "server", "seconds", "price_per_hour", "amount", "balance")
        lines = user.call("cloud.account.transactions")
        rows = [[line["at"][11:19], *(line.get(name, "") for name in columns)] for line in lines]
        screen.table("Ledger (CCU)", ("UTC", *columns), rows)
        self.result.ccu_billed = user.call("cloud.request.get", request)["billed"]

    def _give_back(self, user: Client, request: int) -> None:
        screen = self._screen
        during = count(self._scene.sweep())
        screen.head("The user gives the servers back")
        workflow = user.call("cloud.request.deprovision", request, {"reason": "the demo is over"})
        check_done(follow(self._admin, workflow, screen.step))
        state = user.call("cloud.request.get", request)["state"]
        if state != "done":
            raise StepFailed(f"it is {state}", subject=f"cloud_request:{request}")
        screen.head("The final bill")
        self._show_bill(user, request)
        screen.tell(f"billed: {self.result.ccu_billed} CCU")
        screen.head("A sweep that believes no row of ours: virsh, files, leases, links, processes")
        left = self._scene.settle()
        after = count(left)
        rows = [(kind, during[kind], after[kind]) for kind in during]
        screen.table("Beyond what was there before the order", ("kind", "while active", "now"), rows)
        self.result.leftovers = len(left)
        if not any(during.values()):
            raise StepFailed("it saw nothing while the servers ran, so it proves nothing", subject="sweep")
        self._refuse(left)

    def _sweep(self) -> None:
        audit = self._admin.call("audit.leftovers")
        self._screen.tell(f"audit.leftovers: {'clean' if audit['clean'] else audit}")
        if not audit["clean"]:
            self.result.leftovers += len(audit["orphaned"]) + len(audit["missing"])
            raise StepFailed(f"the daemon's own audit is not clean: {audit}", subject="audit.leftovers")

    def _check_sweep(self) -> None:
        """Plant an orphan: both the sweep and the daemon's audit must find it."""
        screen, admin = self._screen, self._admin
        screen.head("The control: an orphan is planted")
        planted = orphan.plant(self._access, self._volumes, admin.call("qrm.health")["installation"])
        missed = set(planted) - set(self._scene.sweep())
        if missed:
            raise StepFailed(f"the sweep does not see {sorted(missed)}", subject="sweep")
        screen.tell(f"the sweep finds {', '.join(f'{each.kind} {each.what}' for each in planted)}")
        found = admin.call("audit.leftovers")["orphaned"]
        named = {(each["kind"], each["external_id"]) for each in found}
        screen.tell(f"audit.leftovers finds {', '.join(' '.join(each) for each in sorted(named)) or 'nothing'}")
        if len(found) != len(planted):
            raise StepFailed(f"the audit names {sorted(named)}", subject="audit.leftovers")
        acted = admin.call("audit.leftovers", {"action": "remove", "reason": "planted"})
        screen.tell(f"audit.leftovers action=remove: {'clean' if acted['clean'] else acted}")
        self._refuse(self._scene.settle())

    def _refuse(self, left: Sequence[Trace]) -> None:
        if left:
            self.result.leftovers = len(left)
            what = "; ".join(f"{each.kind} {each.what}" for each in left[:10])
            raise StepFailed(f"{len(left)} things are left: {what}", subject="sweep")
        self._screen.tell("nothing is left")


def show_plan(screen: Screen, plan: dict[str, Any]) -> None:
    """Placement, price and steps."""
    placement = plan["placement"]
    candidates = [
        (each.get("name", each.get("host", "?")), "fits" if each.get("fits") else "no", each.get("reason", ""))
        for each in placement.get("candidates", [])
    ]
    screen.table("Placement", ("host", "verdict", "why"), candidates)
    names = ("name", "quantity", "unit", "price", "amount")
    prices = [[line[name] for name in names] for line in plan["price_lines"]]
    screen.table("Price of one server (CCU per hour)", ("product", "quantity", "per", "price", "amount"), prices)
    keys = ("price_per_hour", "held", "balance", "available_after")
    screen.table("", ("price of all per hour", "held now", "balance", "available after"), [[plan[key] for key in keys]])
    steps: list[tuple[object, str, str]] = []
    for number, step in enumerate(plan["steps"], 1):
        steps.append((number, step["action"], step["title"]))
        steps += [("", f"  {each.get('phase', '')}", f"  {each.get('title', '')}") for each in step.get("steps", [])]
    screen.table("Steps", ("", "action", "what"), steps)
