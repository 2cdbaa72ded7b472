"""Rows of images."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.model import Image, ImageView
from qrmd.operations.schema import ListOptions
from qrmd.store.connection import Db, Transaction
from qrmd.store.find import by_ref, page, show
from qrmd.store.places import find_storage
from qrmd.store.rows import load

FIELDS = (
    "id", "name", "storage_id", "volume", "format", "size_mb", "state", "sha256", "source", "default_user",
    "min_memory_mb", "created_at",
)  # fmt: skip


def list_page(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of images. Raises InvalidInput for an unknown field."""
    return page(db, "images", FIELDS, options)


def show_one(db: Db, ref: int | str) -> dict[str, Any]:
    """An image, and who uses it. Raises NotFound."""
    shown = show(db, "images", "image", ref)
    return {**shown, "users": users_of(db, shown["id"])}


def find(db: Db, ref: int | str) -> Image:
    """One image by id or name. Raises NotFound."""
    return db.recall("images", ref, lambda: load(Image, by_ref(db, "images", "image", ref)))


def add(db: Transaction, image: Image, actor: str, reason: str) -> int:
    """Insert an image (its id, volume and time are ours). Raises Conflict when the name is taken."""
    try:
        ident = db.insert(
            "INSERT INTO images (name, storage_id, volume, format, size_mb, state, source, default_user,"
            " min_memory_mb, created_at) VALUES (?, ?, '', ?, ?, ?, ?, ?, ?, ?)",
            (
                image.name,
                image.storage_id,
                image.format,
                image.size_mb,
                image.state.value,
                image.source,
                image.default_user,
                image.min_memory_mb,
                now_us(),
            ),
        )
    except sqlite3.IntegrityError:
        raise Conflict("an image of that name exists already", subject=f"image:{image.name}") from None
    volume = image.volume or f"image-{ident}"
    db.execute("UPDATE images SET volume = ? WHERE id = ?", (volume, ident))
    events.append(db, "image.added", f"image:{ident}", actor=actor, reason=reason, data={"name": image.name})
    return ident


def users_of(db: Db, ident: int) -> list[str]:
    """Appliances that are made from an image, and images being cloned from it."""
    rows = db.rows(
        "SELECT 'appliance ' || name FROM appliances WHERE image_id = ? AND state <> 'removed'"
        " UNION ALL SELECT 'image ' || name FROM images WHERE source = ? AND state IN ('new', 'cloning')",
        (ident, f"image:{ident}"),
    )
    return [row[0] for row in rows]


def view(db: Db, ident: int, arguments: Any, _workflow: int, installation: str) -> ImageView:
    """What planners of image verbs see."""
    image = find(db, ident)
    source = None
    if image.source.startswith("image:"):
        row = db.row("SELECT * FROM images WHERE id = ?", (int(image.source[6:]),))
        source = load(Image, row) if row is not None else None
    return ImageView(
        installation,
        image,
        find_storage(db, image.storage_id),
        source,
        find_storage(db, source.storage_id) if source else None,
        dict(arguments),
    )


def save_content(db: Transaction, ident: int, fmt: str, size_mb: int, sha256: str) -> Image:
    """What the content turned out to be."""
    db.execute("UPDATE images SET format = ?, size_mb = ?, sha256 = ? WHERE id = ?", (fmt, size_mb, sha256, ident))
    return replace(find(db, ident), format=fmt, size_mb=size_mb, sha256=sha256)


def set_size(db: Transaction, ident: int, size_mb: int) -> None:
    """What it is going to be."""
    db.execute("UPDATE images SET size_mb = ? WHERE id = ?", (size_mb, ident))


def set_volume(db: Transaction, ident: int, volume: str) -> None:
    """Where its content lies."""
    db.execute("UPDATE images SET volume = ? WHERE id = ?", (volume, ident))
