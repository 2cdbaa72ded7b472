"""What the plugin asks of the core: the only place that knows the shapes of its verbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qrmd.api import Conflict, Context, NotFound, Services, StepFailed
from qrmd_cloud.model import Request, Server
from qrmd_cloud.spec import ImageFacts

LIVE = frozenset({"planning", "running", "undoing"})
PLACES = 8
"""Keys that one server may use within a step."""
ADD, START, CANCEL, STOP, REMOVE = range(5)


@dataclass(frozen=True, slots=True)
class Progress:
    """How a child workflow stands."""

    state: str
    fault: Mapping[str, Any]

    @property
    def live(self) -> bool:
        """It goes on by itself."""
        return self.state in LIVE


class Core:
    """The core's verbs as the cloud uses them."""

    def __init__(self, services: Services) -> None:
        self._ask = services.ask

    async def image(self, name: str) -> ImageFacts:
        """Raises NotFound, Conflict."""
        found = await self._ask("image.get", name)
        if found["state"] != "idle":
            raise Conflict(f"image {name} is {found['state']}", subject=f"image:{found['id']}", hint="choose another")
        return ImageFacts(found["name"], found["size_mb"], found.get("min_memory_mb", 0))

    async def images(self) -> list[str]:
        """Names of the images that can be ordered."""
        rows = await self._ask("image.list", {"fields": ["name"], "where": {"state": "idle"}})
        return sorted(row["name"] for row in rows)

    async def networks(self, wanted: tuple[str, ...], nics: int) -> list[str]:
        """The networks that a server's NICs join, in turn."""
        known = list(wanted) or [row["name"] for row in await self._ask("network.list", {"fields": ["name"]})]
        if not known:
            raise NotFound("there is no managed network", hint="network.add one")
        return [known[number % len(known)] for number in range(nics)]

    async def explain(self, spec: Mapping[str, Any], quantity: int) -> dict[str, Any]:
        """Where so many servers would go, and why there: ``{"hosts", "candidates"}``. Raises NoCapacity."""
        found: dict[str, Any] = await self._ask("appliance.explain", dict(spec), quantity)
        return found

    async def appliance(self, ident: int) -> dict[str, Any] | None:
        """An appliance, None when it is gone."""
        try:
            found: dict[str, Any] = await self._ask("appliance.get", ident)
        except NotFound:
            return None
        return None if found["state"] == "removed" else found

    async def progress(self, workflow_id: int) -> Progress:
        """How a workflow stands."""
        found = await self._ask("workflow.get", workflow_id)
        return Progress(found["state"], found.get("fault") or {})


def appliance_spec(request: Request, name: str, hostname: str, networks: list[str], owner: str) -> dict[str, Any]:
    """What ``appliance.add`` takes."""
    spec: dict[str, Any] = {
        "name": name,
        "image": request.image,
        "type": request.type,
        "cpus": request.cpus,
        "memory_mb": request.memory_mb,
        "disk_mb": request.disk_mb,
        "networks": networks,
        "hostname": hostname,
        "ssh_keys": [request.ssh_key] if request.ssh_key else [],
        "owner": owner,
        "comment": f"cloud request {request.id}",
    }
    return spec


def place_of(server: Server, use: int) -> int:
    """Number of a child operation within its step."""
    return server.number * PLACES + use


async def take_down(core: Core, ctx: Context, server: Server, grace_seconds: int) -> bool:
    """One push towards a server's appliance being gone; True when it is.

    Args:
        grace_seconds: that the guest gets to power off; its disk goes anyway.

    Raises:
        StepFailed: a child is stuck and needs a human.
    """
    if server.appliance_id is None:
        return True
    appliance = await core.appliance(server.appliance_id)
    if appliance is None:
        return True
    match appliance["state"]:
        case "stopped":
            await _child(core, ctx, server, "appliance.remove", REMOVE, {})
        case "starting":
            await _cancel_start(core, ctx, server)
        case "active" | "paused" | "error":
            await _child(core, ctx, server, "appliance.stop", STOP, {"grace_seconds": grace_seconds})
    return False


async def _child(core: Core, ctx: Context, server: Server, verb: str, use: int, options: Mapping[str, Any]) -> None:
    arguments = {"appliance": server.appliance_id, "options": dict(options)}
    workflow = await ctx.operation(verb, arguments, number=place_of(server, use))
    progress = await core.progress(workflow)
    if not progress.live and progress.state != "done":
        raise StepFailed(
            f"{verb} of {server.hostname} is {progress.state}",
            subject=f"appliance:{server.appliance_id}",
            hint=f"see workflow {workflow}",
            fault=dict(progress.fault),
        )


async def _cancel_start(core: Core, ctx: Context, server: Server) -> None:
    if not server.workflow_id or (await core.progress(server.workflow_id)).state != "running":
        return
    try:
        await ctx.operation("workflow.cancel", {"workflow": server.workflow_id}, number=place_of(server, CANCEL))
    except Conflict:
        return  # it has ended between two looks
