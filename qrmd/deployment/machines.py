"""Actions on virtual machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTCP

from qrmd.deployment.answer import ssh_banner
from qrmd.deployment.places import Reach, host_of
from qrmd.deployment.seed import build_seed
from qrmd.drivers import Attachment, MachineDisk, MachineNic, MachineSpec, MachineState, OwnerTag
from qrmd.errors import StepFailed
from qrmd.workflow.action import Again, Context, Done, Final, Outcome

Args = Mapping[str, Any]

GONE = (None, MachineState.OFF, MachineState.CRASHED)
ASK_AGAIN = 5.0
"""Seconds between two presses of the power button."""


class DefineMachine:
    """Its host knows the machine, powered off, with its seed.

    Arguments: ``host``, ``installation``, ``machine`` (uuid, name, cpus, memory_mb, nics, kernel, initrd, cmdline),
    ``disks`` (slots in order), ``seed`` (instance, hostname, login, ssh_keys, password reference or empty).
    """

    name = "core.define_machine"
    timeout = 300.0
    retries = 2

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Define; the same again changes nothing."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        await self._reach.on_host(ctx, host, driver.define, host, _spec(ctx, args))
        return Done()

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Forget it."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        await self._reach.on_host(ctx, host, driver.undefine, host, args["machine"]["uuid"])
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


class PowerOn:
    """The machine runs. Arguments: ``host``, ``uuid``."""

    name = "core.power_on"
    timeout = 120.0
    retries = 2

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Switch on."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        await self._reach.on_host(ctx, host, driver.power_on, host, args["uuid"])
        return Done()

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Pull the plug: what is undone was never handed over to anybody."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        await self._reach.on_host(ctx, host, driver.power_off, host, args["uuid"])
        return Done()


class AwaitAnswer:
    """The guest answers with its ssh banner at its address, which it does only after its seed was applied.

    Arguments: ``host``, ``uuid``, ``address`` (empty: it is enough that the machine runs).
    """

    name = "core.await_answer"
    timeout = 600.0
    retries = 0

    def __init__(self, reach: Reach, reactor: IReactorTCP) -> None:
        self._reach = reach
        self._reactor = reactor

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Knock; look at the machine when nobody opens."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        if args["address"] and driver.capabilities.guest_answers:
            banner = await ssh_banner(self._reactor, args["address"])
            if banner:
                return Done({"answer": banner})
        info = await self._reach.on_host(ctx, host, driver.find, host, args["uuid"])
        if info is None or info.state in GONE:
            raise StepFailed("the machine is not running any more", subject=ctx.subject, hint="see its console log")
        if not args["address"] or not driver.capabilities.guest_answers:
            return Done({"answer": str(info.state)})
        return Again(0.2, f"waiting for ssh at {args['address']}")

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Nothing was made."""
        return Done()


class ShutDown(Final):
    """The machine is off: the guest is asked, and when it does not listen the plug is pulled.

    Arguments: ``host``, ``uuid``, ``grace`` (seconds the guest gets). Publishes ``off``.
    """

    name = "core.shut_down"
    timeout = 600.0
    retries = 5

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Observe, ask, pull."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        info = await self._reach.on_host(ctx, host, driver.find, host, args["uuid"])
        if info is None or info.state in GONE:
            return Done({"off": True})
        if ctx.elapsed > args["grace"] or info.state is MachineState.PAUSED:
            await self._reach.on_host(ctx, host, driver.power_off, host, args["uuid"])
            return Done({"off": True})
        if ctx.elapsed % ASK_AGAIN < ASK_AGAIN / 10:
            await self._reach.on_host(ctx, host, driver.shutdown, host, args["uuid"])
        return Again(0.25, "waiting for the guest to power off")


class UndefineMachine(Final):
    """Its host knows nothing of the machine any more. Arguments: ``host``, ``uuid``."""

    name = "core.undefine_machine"
    timeout = 300.0
    retries = 5

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Forget it, its seed and its console log."""
        host = host_of(args["host"])
        driver = self._reach.virtualization(host)
        await self._reach.on_host(ctx, host, driver.undefine, host, args["uuid"])
        return Done()


class PowerAgain(PowerOn):
    """The machine runs again after it was shut down in the same plan. Arguments: ``host``, ``uuid``."""

    name = "core.power_again"
    retries = 5
