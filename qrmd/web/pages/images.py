"""Images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.gather import all_of, events_about, live_workflow, names_of, rows_of
from qrmd.web.render import TEMPLATES

_FORMATS = {"spec.format": ("qcow2", "raw")}
ADD = (
    Deed("import", "image.import", "Import an image", choices=_FORMATS, plans=True,
         hint="A file of the server is copied onto a storage."),
    Deed("add", "image.add", "Add a volume as an image", choices=_FORMATS, to="/images/{id}",
         hint="A volume that lies on a storage already; it stays yours."),
)  # fmt: skip
DEEDS = (
    Deed("clone", "image.clone", "Clone", states=frozenset({"idle"}), plans=True),
    Deed("resize", "image.resize", "Grow", plans=True),
    Deed("remove", "image.remove", "Remove", danger=True),
)


async def show_list(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A page of them."""
    found, storages, adding = await all_of(
        (rows_of(call, "image", given, ("state", "format")), names_of(call, "storage"), deeds.offer(call, ADD))
    )
    return {**found, "storages": storages, "deeds": adding}


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One, with what is made from it."""
    found = await call.ask("image.get", given["id"])
    subject = f"image:{found['id']}"
    workflow = await live_workflow(call, subject)
    storages, events, offered = await all_of(
        (
            names_of(call, "storage"),
            events_about(call, subject),
            deeds.offer(call, DEEDS, kind="image", state=found["state"], workflow=workflow, subject=("image",),
                        current={"size_mb": found["size_mb"]}, named=found["name"]),
        )
    )  # fmt: skip
    return {"it": found, "storages": storages, "events": events, "deeds": offered, "workflow": workflow}


PAGES = (
    Page("/images", "Images", "Data centre", LOOK, TEMPLATES, "images.html", show_list, deeds.actions(ADD)),
    Page(
        "/images/<int:id>", "Image", "", LOOK, TEMPLATES, "image.html", show_one,
        deeds.actions(DEEDS, "image", path="/images/{id}"),
    ),
)  # fmt: skip
