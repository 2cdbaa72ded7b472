"""Hosts and storages as step arguments, and how actions reach their drivers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from qrmd.drivers import StorageDriver, VirtualizationDriver
from qrmd.errors import StepFailed
from qrmd.model import Host, Storage
from qrmd.plugins.registries import Registries
from qrmd.states import HostState
from qrmd.store.database import Store
from qrmd.store.hosts import find as find_host
from qrmd.threads import Lanes
from qrmd.workflow.action import Context

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def host_arguments(host: Host) -> dict[str, Any]:
    """What a step keeps of a host."""
    return {"id": host.id, "name": host.name, "uri": host.uri, "type": host.virtualization_type}


def host_of(arguments: Mapping[str, Any]) -> Host:
    """The host a step was planned for."""
    return Host(arguments["id"], arguments["name"], arguments["uri"], arguments["type"], HostState.UP)


def storage_arguments(storage: Storage) -> dict[str, Any]:
    """What a step keeps of a storage."""
    return {
        "id": storage.id,
        "name": storage.name,
        "type": storage.deployment_type,
        "location": storage.location,
        "host": storage.host_id,
    }


def storage_of(arguments: Mapping[str, Any]) -> Storage:
    """The storage a step was planned for."""
    return Storage(arguments["id"], arguments["name"], arguments["type"], arguments["location"], arguments["host"])


class Reach:
    """Looks drivers up by type and calls them in the lane of their host or storage."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    def virtualization(self, host: Host) -> VirtualizationDriver:
        """The driver of a host. Raises StepFailed while its plugin is not started."""
        driver = self._registries.virtualization.get(host.virtualization_type)
        if driver is None:
            raise StepFailed(
                f"no started plugin serves {host.virtualization_type}",
                subject=f"host:{host.id}",
                hint="plugin.start it",
            )
        return driver

    def deployment(self, storage: Storage) -> StorageDriver:
        """The driver of a storage. Raises StepFailed while its plugin is not started."""
        driver = self._registries.deployment.get(storage.deployment_type)
        if driver is None:
            raise StepFailed(
                f"no started plugin serves {storage.deployment_type}",
                subject=f"storage:{storage.id}",
                hint="plugin.start it",
            )
        return driver

    async def on_host(
        self,
        ctx: Context,
        host: Host,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a virtualization driver in its host's lane, or here when it never blocks."""
        if self.virtualization(host).capabilities.blocking:
            return await ctx.call(f"host:{host.id}", function, *args, **kwargs)
        return function(*args, **kwargs)

    async def on_storage(
        self,
        ctx: Context,
        storage: Storage,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a storage driver in its storage's lane, or here when it never blocks."""
        if self.deployment(storage).capabilities.blocking:
            return await ctx.call(f"storage:{storage.id}", function, *args, **kwargs)
        return function(*args, **kwargs)


def host_lane_driver(store: Store, reach: Reach, lanes: Lanes) -> Callable[[str], None]:
    """The engine's ``abort``: kills a host's connection from a lane of its own, so that a hung call ends."""

    def abort(lane: str) -> None:
        kind, _, rest = lane.partition(":")
        ident = rest.partition(":")[0]
        if kind == "host" and ident.isdigit():
            Deferred.fromCoroutine(_abort(int(ident))).addErrback(lambda failure: log.error("abort: %s", failure.value))

    async def _abort(ident: int) -> None:
        host = await store.read(find_host, ident)
        await lanes.call(f"host:{ident}:abort", reach.virtualization(host).abort, host)

    return abort
