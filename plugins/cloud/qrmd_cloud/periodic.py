"""What time asks for: bills, start and stop times, the grace, mails that wait, slow retries."""

from __future__ import annotations

import logging

from qrmd.api import SECOND, Conflict, Periodic, PreconditionFailed, Services, now_us
from qrmd_cloud import decisions
from qrmd_cloud.rules import RuleBook
from qrmd_cloud.store import bills, mails, requests, servers

log = logging.getLogger(__name__)

BILL_SECONDS = 5.0
SCHEDULE_SECONDS = 5.0


class Schedule:
    """The periodic functions. Each looks at rows only, so a call that was missed is made up for by the next."""

    def __init__(self, services: Services, rules: RuleBook) -> None:
        self._services = services
        self._rules = rules

    def all(self) -> list[Periodic]:
        """What the plugin registers."""
        return [
            Periodic("cloud-bills", BILL_SECONDS, self.bill),
            Periodic("cloud-schedule", SCHEDULE_SECONDS, self.look),
        ]

    async def bill(self) -> None:
        """Settle what is due; stop the servers of those whose CCUs met their end."""
        rules = await self._rules.read()
        for ident in await self._services.read(requests.to_bill, now_us()):
            await self._services.write(bills.settle, ident, now_us(), rules)
        for appliance in await self._services.read(servers.unpaid):
            await self._ask("appliance.stop", appliance, {"reason": "no CCUs left"})

    async def look(self) -> None:
        """Expire, de-provision, advance the queue, send mails that no workflow carries."""
        now, rules = now_us(), await self._rules.read()
        for ident in await self._services.read(requests.expired, now):
            await self._services.write(decisions.expire, ident, now)
        for ident, why in await self._services.read(requests.ending, now, rules.grace_seconds * SECOND):
            await self._ask("cloud.deprovision", ident, why, {"reason": why})
        await self._ask("cloud.queue.advance")
        for ident in await self._services.read(mails.queued):
            await self._ask("cloud.mail", ident)

    async def _ask(self, verb: str, *arguments: object) -> None:
        """Ask; what is refused now is asked again at the next look."""
        try:
            await self._services.ask(verb, *arguments)
        except Conflict:
            return  # under way already
        except PreconditionFailed as error:
            log.warning("%s%r was refused: %s", verb, arguments, error)
