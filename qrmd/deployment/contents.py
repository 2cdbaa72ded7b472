"""Actions on the content of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrmd.deployment.lifecycle import Lifecycle
from qrmd.deployment.reach import OnStorage, Reach
from qrmd.deployment.sources import file_digest
from qrmd.drivers import OwnerTag, StorageDriver, VolumeFacts
from qrmd.errors import InvalidInput
from qrmd.model import Storage
from qrmd.workflow.action import Context, Done, Final, Outcome

Args = Mapping[str, Any]


class OnImage(OnStorage):
    """Base of actions on the content of images, which is kept as it turns out to be."""

    def __init__(self, reach: Reach, lifecycle: Lifecycle) -> None:
        super().__init__(reach)
        self._lifecycle = lifecycle

    async def keep(self, ctx: Context, args: Args, facts: VolumeFacts, digest: str = "") -> None:
        """Write what the image holds now (no digest: the one it had stays)."""
        await ctx.write(self._lifecycle.save_content, args["image"], facts.format, facts.size_mb, digest)


class ImportImage(OnImage):
    """An image's volume holds what a file holds.

    Arguments: ``storage volume path format sha256 installation image``.
    """

    name = "core.import_image"
    timeout = 3600.0
    retries = 1

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Check header and checksum, copy, keep what it turned out to be."""
        there = self.there(ctx, args)
        tag = OwnerTag(args["installation"], ctx.subject)
        facts, digest = await there.call(_import, there.driver, tag, dict(args))
        await self.keep(ctx, args, facts, digest)
        return Done({"size_mb": facts.size_mb, "sha256": digest})

    async def undo(self, ctx: Context, args: Args) -> Outcome:
        """Remove the volume and its half-made parts."""
        there = self.there(ctx, args)
        await there.call(there.driver.remove, args["volume"])
        return Done()


def _import(storage: Storage, driver: StorageDriver, tag: OwnerTag, args: Args) -> tuple[VolumeFacts, str]:
    path = Path(args["path"])
    digest = file_digest(path)
    if args["sha256"] and digest != args["sha256"]:
        raise InvalidInput(f"its SHA-256 is {digest}, not {args['sha256']}", subject=str(path))
    return driver.import_file(storage, args["volume"], path, args["format"], tag), digest


class CopyImage(ImportImage):
    """An image's volume is a full copy of another's.

    Arguments: ``storage source volume size_mb installation image``.
    """

    name = "core.copy_image"

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Copy; the checksum of a copy is not taken, its size is."""
        there = self.there(ctx, args)
        tag = OwnerTag(args["installation"], ctx.subject)
        facts = await there.call(there.driver.copy, args["source"], args["volume"], args["size_mb"], tag)
        await self.keep(ctx, args, facts)
        return Done({"size_mb": facts.size_mb})


class ResizeImage(OnImage, Final):
    """An image's volume is as large as wanted; shrinking could cut its file system.

    Arguments: ``storage volume size_mb image``.
    """

    name = "core.resize_image"
    timeout = 600.0
    retries = 2

    async def do(self, ctx: Context, args: Args) -> Outcome:
        """Grow."""
        there = self.there(ctx, args)
        facts = await there.call(there.driver.resize, args["volume"], args["size_mb"])
        await self.keep(ctx, args, facts)
        return Done({"size_mb": facts.size_mb})
