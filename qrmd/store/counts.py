"""How much there is of everything."""

from __future__ import annotations

from qrmd.states import MACHINES
from qrmd.store.connection import Db
from qrmd.store.debts import UNPAID_STEPS

COUNTED = {
    "workflow": "workflows",
    "host": "hosts",
    "appliance": "appliances",
    "resource": "resources",
    "image": "images",
    "plugin": "plugins",
}


def count_rows(db: Db) -> dict[tuple[str, str], int]:
    """(kind, state) → rows, of every state machine of the core; plus ``("debt", "")`` and ``("event", "")``."""
    found: dict[tuple[str, str], int] = {}
    for kind, table in COUNTED.items():
        states: type = MACHINES[kind][0]
        found |= {(kind, str(state)): 0 for state in states}  # type: ignore[attr-defined]
        for row in db.rows(f"SELECT state, count(*) AS n FROM {table} GROUP BY state"):  # noqa: S608 - own names
            found[kind, row["state"]] = row["n"]
    found["debt", ""] = db.value(f"SELECT count(*) FROM ({UNPAID_STEPS})")  # noqa: S608 - our own text
    found["event", ""] = db.value("SELECT coalesce(max(id), 0) FROM events")
    return found
