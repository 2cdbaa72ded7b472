"""Actions on the disks of appliances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from qrmd.deployment.places import Reach, storage_of
from qrmd.drivers import OwnerTag
from qrmd.workflow.action import Context, Done, Final, Outcome

Args = Mapping[str, Any]


class ProvideDisk:
    """A disk exists and its machine may open it. The undo takes back the export, and the disk if it was made here.

    Arguments: ``storage``, ``volume``, ``source`` (volume to clone; empty: it exists), ``size_mb``, ``consumer``,
    ``slot``, ``installation``. Publishes the attachment.
    """

    name = "core.provide_disk"
    timeout = 3600.0
    retries = 2

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Clone unless it is there; export."""
        storage = storage_of(args["storage"])
        driver = self._reach.deployment(storage)
        call = self._reach.on_storage
        if args["source"]:
            tag = OwnerTag(args["installation"], ctx.subject)
            await call(ctx, storage, driver.clone, storage, args["source"], args["volume"], args["size_mb"], tag)
        attachment = await call(ctx, storage, driver.export, storage, args["volume"], args["consumer"])
        return Done({args["slot"]: asdict(attachment)})

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Take the export back; remove what was cloned."""
        storage = storage_of(args["storage"])
        driver = self._reach.deployment(storage)
        call = self._reach.on_storage
        await call(ctx, storage, driver.unexport, storage, args["volume"], args["consumer"])
        if args["source"]:
            await call(ctx, storage, driver.remove, storage, args["volume"])
        return Done()


class WithdrawDisk(Final):
    """A machine may not open a disk any more. Arguments: ``storage``, ``volume``, ``consumer``."""

    name = "core.withdraw_disk"
    timeout = 600.0
    retries = 3

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Take the export back."""
        storage = storage_of(args["storage"])
        driver = self._reach.deployment(storage)
        await self._reach.on_storage(ctx, storage, driver.unexport, storage, args["volume"], args["consumer"])
        return Done()


class RemoveDisk(Final):
    """A disk is gone. Arguments: ``storage``, ``volume``."""

    name = "core.remove_disk"
    timeout = 600.0
    retries = 3

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Remove it and its half-made parts."""
        storage = storage_of(args["storage"])
        driver = self._reach.deployment(storage)
        await self._reach.on_storage(ctx, storage, driver.remove, storage, args["volume"])
        return Done()
