"""Actions on the disks of appliances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from qrmd.deployment.reach import OnStorage
from qrmd.drivers import Attachment, OwnerTag
from qrmd.workflow.action import Context, Done, Final, Outcome

Args = Mapping[str, Any]
_PARTS = tuple(each.name for each in fields(Attachment))


class ProvideDisk(OnStorage):
    """A disk exists and its machine may open it. The undo takes back the export, and the disk if it was made here.

    Arguments: ``storage``, ``volume``, ``source`` (volume to clone; empty: it exists), ``size_mb``, ``consumer``,
    ``slot``, ``installation``. Publishes the attachment.
    """

    name = "core.provide_disk"
    timeout = 3600.0
    retries = 2

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Clone unless it is there; export."""
        there = self.there(ctx, args)
        if args["source"]:
            tag = OwnerTag(args["installation"], ctx.subject)
            await there.call(there.driver.clone, args["source"], args["volume"], args["size_mb"], tag)
        attachment = await there.call(there.driver.export, args["volume"], args["consumer"])
        return Done({args["slot"]: {name: getattr(attachment, name) for name in _PARTS}})

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Take the export back; remove what was cloned."""
        there = self.there(ctx, args)
        await there.call(there.driver.unexport, args["volume"], args["consumer"])
        if args["source"]:
            await there.call(there.driver.remove, args["volume"])
        return Done()


class WithdrawDisk(OnStorage, Final):
    """A machine may not open a disk any more. Arguments: ``storage``, ``volume``, ``consumer``."""

    name = "core.withdraw_disk"
    timeout = 600.0
    retries = 3

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Take the export back."""
        there = self.there(ctx, args)
        await there.call(there.driver.unexport, args["volume"], args["consumer"])
        return Done()


class RemoveDisk(OnStorage, Final):
    """A disk is gone. Arguments: ``storage``, ``volume``."""

    name = "core.remove_disk"
    timeout = 600.0
    retries = 3

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Remove it and its half-made parts."""
        there = self.there(ctx, args)
        await there.call(there.driver.remove, args["volume"])
        return Done()
