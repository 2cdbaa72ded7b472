"""Verbs about events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qrmd.clock import to_iso
from qrmd.errors import InvalidInput
from qrmd.names import shown
from qrmd.operations.call import Call
from qrmd.operations.listing import select
from qrmd.operations.registry import LOOK, verb
from qrmd.operations.schema import ListOptions
from qrmd.store import feed

_ALL = ListOptions()


@verb("event.list", roles=LOOK)
async def list_events(call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
    """List events in their order: id, at, kind, severity, actor, reason, subject, workflow_id, data.

    ``where`` may name kind, severity, actor, subject and workflow_id; ``{"order": "-id"}`` gives the newest first,
    and ``after`` is then the id before which the page begins.
    """
    newest = options.order == "-id"
    if newest or options.order == "id":
        options = replace(options, order="")
    options.refuse_search()
    where = dict(options.where or {})
    for name, value in where.items():
        if name not in feed.FILTERS:
            raise InvalidInput(f"events can't be chosen by {shown(name)}", hint="known: " + ", ".join(feed.FILTERS))
        if not isinstance(value, str | int):
            raise InvalidInput(f"where.{name} must be text or an integer")
    rows = await call.read(feed.page, where, options.after, options.limit, newest)
    return [select({**row, "at": to_iso(row["at"])}, options.fields) for row in rows]
