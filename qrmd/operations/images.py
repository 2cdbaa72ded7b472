"""Verbs about images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from qrmd.deployment.sources import check_source
from qrmd.errors import InvalidInput, NotFound
from qrmd.model import Image
from qrmd.operations.call import Call
from qrmd.operations.inputs import Megabytes, Memory, Name, Path, Ref
from qrmd.operations.registry import LOOK, OPERATE, verb
from qrmd.operations.schema import Check, ListOptions, Options
from qrmd.settings import one_of
from qrmd.states import ImageState
from qrmd.store import images, places
from qrmd.store.connection import Transaction
from qrmd.store.transitions import transition

_OPTIONS, _LIST = Options(), ListOptions()
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def check_sha256(value: str) -> str:
    """64 hex digits or nothing."""
    if value and not _SHA256.fullmatch(value):
        raise InvalidInput("that is not a SHA-256 in lower-case hex")
    return value


def check_login(value: str) -> str:
    """A Unix user name."""
    if not _LOGIN.fullmatch(value):
        raise InvalidInput("that is not a Unix user name", hint="a-z, 0-9, _ and -, beginning with a letter")
    return value


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image to import or add.

    Attributes:
        path: absolute path of a file in one of the server's import directories (import), or name of the volume on the
            storage (add).
        format: ``raw`` or ``qcow2``; the file's header must agree.
        sha256: checked before anything is made (empty: not).
        default_user: whom the seed gives the login to.
    """

    name: Name
    storage: Ref
    path: Path
    format: one_of("raw", "qcow2") = "qcow2"  # type: ignore[valid-type]
    sha256: Annotated[str, Check(check_sha256)] = ""
    default_user: Annotated[str, Check(check_login)] = "root"
    min_memory_mb: Memory = 32


@verb("image.import", roles=OPERATE, changes=True)
async def image_import(call: Call, spec: ImageSpec, options: Options = _OPTIONS) -> Any:
    """Copy an image file of the server onto a storage. Returns the workflow's id, or the plan."""
    storage = await call.read(places.find_storage, spec.storage)
    path = await call.core.lanes.call(
        "files", check_source, spec.path, call.core.import_dirs, call.core.store.path.parent
    )
    there = call.core.reach.ask_storage(storage)
    facts = await there.call(there.driver.inspect, path, spec.format)
    image = _image(spec, storage.id, facts.size_mb, f"file:{path}")
    arguments = {"path": str(path), "sha256": spec.sha256}
    return await _make(call, "image.import", image, arguments, options)


@verb("image.add", roles=OPERATE, changes=True)
async def image_add(call: Call, spec: ImageSpec, options: Options = _OPTIONS) -> Any:
    """Make a volume that lies on a storage already known as an image. It is not ours and never removed."""
    storage = await call.read(places.find_storage, spec.storage)
    there = call.core.reach.ask_storage(storage)
    found = await there.call(there.driver.find, spec.path)
    if found is None or found.format != spec.format:
        raise NotFound(f"there is no {spec.format} volume {spec.path!r:.120} on {storage.name}")
    image = _image(spec, storage.id, found.size_mb, "adopted")
    return await call.change(options, _adopt, call, image, spec.path, options.reason)


def _adopt(db: Transaction, call: Call, image: Image, volume: str, reason: str) -> int:
    ident = call.core.lifecycle.add_image(db, image, call.actor.name, reason)
    images.set_volume(db, ident, volume)
    transition(db, "image", ident, ImageState.IDLE, actor=call.actor.name, reason=reason)
    return ident


def _image(spec: ImageSpec, storage_id: int, size_mb: int, source: str) -> Image:
    return Image(
        0, spec.name, storage_id, "", spec.format, size_mb, ImageState.NEW, "", source, spec.default_user,
        spec.min_memory_mb,
    )  # fmt: skip


async def _make(call: Call, operation: str, image: Image, arguments: dict[str, Any], options: Options) -> Any:
    """Insert the row in the transaction that begins the workflow: there is never one without the other."""
    create = partial(call.core.lifecycle.add_image, image=image, actor=call.actor.name, reason=options.reason)
    return await call.start(operation, 0, arguments, options, create=create)


@verb("image.clone", roles=OPERATE, changes=True)
async def image_clone(call: Call, image: Ref, name: Name, options: Options = _OPTIONS) -> Any:
    """Copy an image fully, under a new name on the same storage. Returns the workflow's id, or the plan."""
    source = await call.read(images.find, image)
    copy = Image(
        0, name, source.storage_id, "", source.format, source.size_mb, ImageState.NEW, "", f"image:{source.id}",
        source.default_user, source.min_memory_mb,
    )  # fmt: skip
    return await _make(call, "image.clone", copy, {}, options)


@verb("image.list", roles=LOOK)
async def image_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Images, a page at a time."""
    return await call.read(images.list_page, options)


@verb("image.get", roles=LOOK)
async def image_get(call: Call, image: Ref) -> dict[str, Any]:
    """One image, and what is made from it."""
    return await call.read(images.show_one, image)


@verb("image.resize", roles=OPERATE, changes=True)
async def image_resize(call: Call, image: Ref, size_mb: Megabytes, options: Options = _OPTIONS) -> Any:
    """Grow an image that nothing uses. Returns the workflow's id, or the plan."""
    found = await call.read(images.find, image)
    return await call.start("image.resize", found.id, {"size_mb": size_mb, "from_mb": found.size_mb}, options)


@verb("image.remove", roles=OPERATE, changes=True)
async def image_remove(call: Call, image: Ref, options: Options = _OPTIONS) -> Any:
    """Remove an image that nothing uses. Returns the workflow's id, or the plan."""
    found = await call.read(images.find, image)
    return await call.start("image.remove", found.id, {}, options)
