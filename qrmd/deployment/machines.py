"""Actions on virtual machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTCP

from qrmd.deployment.answer import ssh_banner
from qrmd.deployment.reach import OnHost, Reach
from qrmd.deployment.seed import build_seed
from qrmd.drivers import Attachment, MachineDisk, MachineNic, MachineSpec, MachineState, OwnerTag
from qrmd.errors import StepFailed
from qrmd.workflow.action import Again, Context, Done, Final, Observation, Outcome

Args = Mapping[str, Any]

GONE = (None, MachineState.OFF, MachineState.CRASHED)
ASK_AGAIN = 5.0
"""Seconds between two presses of the power button."""


class DefineMachine(OnHost):
    """Its host knows the machine, powered off, with its seed.

    Arguments: ``host``, ``installation``, ``machine`` (uuid, name, cpus, memory_mb, nics, kernel, initrd, cmdline),
    ``disks`` (slots in order), ``seed`` (instance, hostname, login, ssh_keys, password reference or empty).
    """

    name = "core.define_machine"
    timeout = 300.0
    retries = 2

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Define; the same again changes nothing."""
        there = self.there(ctx, args)
        await there.call(there.driver.define, _spec(ctx, args))
        return Done()

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Forget it."""
        there = self.there(ctx, args)
        await there.call(there.driver.undefine, args["machine"]["uuid"])
        return Done()


def _spec(ctx: Context, args: Args) -> MachineSpec:
    machine, seed = args["machine"], args["seed"]
    password = ctx.secret(seed["password"]) if seed["password"] else None
    files = build_seed(
        instance=seed["instance"],
        hostname=seed["hostname"],
        login=seed["login"],
        ssh_keys=seed["ssh_keys"],
        password=password,
        salt=f"{args['installation']}:{seed['instance']}",
    )
    disks = tuple(
        MachineDisk(Attachment(**ctx.slots[slot]), f"vd{chr(ord('a') + index)}")
        for index, slot in enumerate(args["disks"])
    )
    return MachineSpec(
        machine["uuid"],
        machine["name"],
        machine["cpus"],
        machine["memory_mb"],
        disks,
        tuple(MachineNic(nic["mac"], nic["bridge"]) for nic in machine["nics"]),
        OwnerTag(args["installation"], ctx.subject),
        files,
        machine["kernel"],
        machine["initrd"],
        machine["cmdline"],
    )


class DefineAgain(DefineMachine):
    """Its host knows the machine: as it did, or defined anew when it was lost. Arguments: as ``DefineMachine``."""

    name = "core.define_again"
    retries = 5

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Look; define what is not there."""
        there = self.there(ctx, args)
        if await there.call(there.driver.find, args["machine"]["uuid"]) is None:
            await there.call(there.driver.define, _spec(ctx, args))
        return Done()


class PowerOn(OnHost):
    """The machine runs. Arguments: ``host``, ``uuid``."""

    name = "core.power_on"
    timeout = 120.0
    retries = 2

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Switch on."""
        there = self.there(ctx, args)
        await there.call(there.driver.power_on, args["uuid"])
        return Done()

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Pull the plug: what is undone was never handed over to anybody."""
        there = self.there(ctx, args)
        await there.call(there.driver.power_off, args["uuid"])
        return Done()


class AwaitAnswer(OnHost, Observation):
    """The guest answers with its ssh banner at its address, which it does only after its seed was applied.

    Arguments: ``host``, ``uuid``, ``address`` (empty: it is enough that the machine runs).
    """

    name = "core.await_answer"
    timeout = 600.0
    retries = 0

    def __init__(self, reach: Reach, reactor: IReactorTCP) -> None:
        super().__init__(reach)
        self._reactor = reactor

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Knock; look at the machine when nobody opens."""
        there = self.there(ctx, args)
        if args["address"] and there.driver.capabilities.guest_answers:
            banner = await ssh_banner(self._reactor, args["address"])
            if banner:
                return Done({"answer": banner})
        info = await there.call(there.driver.find, args["uuid"])
        if info is None or info.state in GONE:
            raise StepFailed("the machine is not running any more", subject=ctx.subject, hint="see its console log")
        if not args["address"] or not there.driver.capabilities.guest_answers:
            return Done({"answer": str(info.state)})
        return Again(0.2, f"waiting for ssh at {args['address']}")


class ShutDown(OnHost, Final):
    """The machine is off: the guest is asked, and when it does not listen the plug is pulled.

    Arguments: ``host``, ``uuid``, ``grace`` (seconds the guest gets). Publishes ``off``.
    """

    name = "core.shut_down"
    timeout = 600.0
    retries = 5

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Observe, ask, pull."""
        there = self.there(ctx, args)
        info = await there.call(there.driver.find, args["uuid"])
        if info is None or info.state in GONE:
            return Done({"off": True})
        if ctx.elapsed > args["grace"] or info.state is MachineState.PAUSED:
            await there.call(there.driver.power_off, args["uuid"])
            return Done({"off": True})
        if ctx.elapsed % ASK_AGAIN < ASK_AGAIN / 10:
            await there.call(there.driver.shutdown, args["uuid"])
        return Again(0.25, "waiting for the guest to power off")


class UndefineMachine(OnHost, Final):
    """Its host knows nothing of the machine any more. Arguments: ``host``, ``uuid``."""

    name = "core.undefine_machine"
    timeout = 300.0
    retries = 5

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Forget it, its seed and its console log."""
        there = self.there(ctx, args)
        await there.call(there.driver.undefine, args["uuid"])
        return Done()


class PowerAgain(PowerOn):
    """The machine runs again after it was shut down in the same plan. Arguments: ``host``, ``uuid``."""

    name = "core.power_again"
    retries = 5
