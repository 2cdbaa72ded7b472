"""The main job's verbs: plan, order, approve, wait until active, give back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qrmd.errors import StepFailed
from qrmd.testing.demo.arrangement import IMAGE
from qrmd.testing.demo.clients import ENDED, Client, check_done

WANTED = {
    "image": IMAGE,
    "cpus": 1,
    "memory_mb": 128,
    "disk_mb": 512,
    "nics": 1,
    "quantity": 2,
    "type": "any",
    "hostname": "web",
    "reason": "the demo",
}
LIMIT = 240.0
"""Seconds from approval to active, under QEMU without KVM on a busy machine."""
PAUSE = 0.25

Told = Callable[[dict[str, Any], dict[str, Any]], None]
"""Is told (workflow, step) when a step's state has changed."""


@dataclass(frozen=True, slots=True)
class Activation:
    """``seconds``: from the approval until the last server was active, both by the daemon's clock."""

    seconds: float
    servers: list[dict[str, Any]]


def activate(admin: Client, user: Client, request: int, told: Told) -> Activation:
    """Approve a request and follow it until its servers are active.

    Raises:
        StepFailed: they are not.
    """
    workflow = admin.call("cloud.request.approve", request, {"reason": "welcome"})
    if not workflow:
        raise StepFailed("it was approved and waits", subject=f"cloud_request:{request}")
    check_done(follow(admin, workflow, told))
    found = user.call("cloud.request.get", request)
    servers = user.call("cloud.server.list", {"where": {"request_id": request}})
    if found["state"] != "active" or any(each["state"] != "active" for each in servers):
        states = ", ".join(f"{each['hostname']} {each['state']}" for each in servers)
        raise StepFailed(f"it is {found['state']} ({states})", subject=f"cloud_request:{request}")
    last = max(_time(each["active"]) for each in servers)
    return Activation((last - _time(found["approved"])).total_seconds(), servers)


def follow(admin: Client, workflow: int, told: Told, limit: float = LIMIT) -> dict[str, Any]:
    """Wait for a workflow's end, telling each step of it and of its children as it goes; returns it at last.

    Raises:
        StepFailed: it takes longer than ``limit`` seconds.
    """
    seen: dict[int, str] = {}
    deadline = time.monotonic() + limit
    while True:
        found = admin.call("workflow.wait", workflow, PAUSE)
        for one in _family(admin, found):
            for step in one["steps"]:
                if seen.get(step["id"]) != step["state"]:
                    seen[step["id"]] = step["state"]
                    told(one, step)
        if found["state"] in ENDED:
            result: dict[str, Any] = found
            return result
        if time.monotonic() > deadline:
            raise StepFailed(f"it is still {found['state']} after {limit:g} s", subject=f"workflow:{workflow}")


def _family(admin: Client, workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """Children first: a step that waits for them ends after theirs."""
    return [*(admin.call("workflow.get", child["id"]) for child in workflow["children"]), workflow]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
