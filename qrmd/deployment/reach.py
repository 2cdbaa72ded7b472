"""How verbs and actions reach the drivers of hosts and storages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, Protocol, TypeVar

from twisted.internet import defer

from qrmd.deployment.places import host_of, storage_of
from qrmd.deployment.sightings import Sightings
from qrmd.drivers import StorageDriver, VirtualizationDriver
from qrmd.errors import StepFailed, Unavailable
from qrmd.model import Host, Storage
from qrmd.plugins.registries import Registries
from qrmd.store.database import Store
from qrmd.store.hosts import find as find_host
from qrmd.threads import Lanes
from qrmd.timers import Timers
from qrmd.workflow.action import Context

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that a host or a storage gets to answer a question of a verb."""


class Blocking(Protocol):
    """What capabilities of either sort of driver say."""

    @property
    def blocking(self) -> bool:
        """False: calls return at once and are made on the reactor thread."""
        ...


class Driver(Protocol):
    """What is common to either sort of driver."""

    @property
    def capabilities(self) -> Blocking:
        """What it can do."""
        ...


W = TypeVar("W", Host, Storage)
D = TypeVar("D", bound=Driver)


@dataclass(frozen=True, slots=True)
class Reached(Generic[W, D]):
    """A host or a storage with its driver.

    Attributes:
        run: runs a blocking function in a lane: ``ctx.call`` of a step, or that of the lanes.
    """

    where: W
    driver: D
    lane: str
    run: Callable[..., Awaitable[Any]]

    async def call(self, function: Callable[Concatenate[W, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``function(where, *args)``, of the driver: in the lane, or here when the driver never blocks."""
        if self.driver.capabilities.blocking:
            result: T = await self.run(self.lane, function, self.where, *args, **kwargs)
            return result
        return function(self.where, *args, **kwargs)


class Reach:
    """Looks drivers up by type, and calls them in the lane of their host or storage.

    Args:
        lanes: where verbs have their calls made.
        clock: ends the waiting for what does not answer.

    Attributes:
        sightings: for questions that nobody waits long for.
    """

    def __init__(self, registries: Registries, lanes: Lanes, clock: Timers) -> None:
        self._registries = registries
        self._lanes = lanes
        self._clock = clock
        self.sightings = Sightings(clock)

    def virtualization(self, host: Host) -> VirtualizationDriver:
        """The driver of a host. Raises StepFailed while its plugin is not started."""
        driver = self._registries.virtualization.get(host.virtualization_type)
        return driver or _unserved(host.virtualization_type, f"host:{host.id}")

    def deployment(self, storage: Storage) -> StorageDriver:
        """The driver of a storage. Raises StepFailed while its plugin is not started."""
        driver = self._registries.deployment.get(storage.deployment_type)
        return driver or _unserved(storage.deployment_type, f"storage:{storage.id}")

    def host(self, host: Host, ctx: Context | None = None) -> Reached[Host, VirtualizationDriver]:
        """A host for deeds, of a step or of a verb."""
        return Reached(host, self.virtualization(host), f"host:{host.id}", ctx.call if ctx else self._lanes.call)

    def storage(self, storage: Storage, ctx: Context | None = None) -> Reached[Storage, StorageDriver]:
        """A storage for deeds, of a step or of a verb."""
        lane = f"storage:{storage.id}"
        return Reached(storage, self.deployment(storage), lane, ctx.call if ctx else self._lanes.call)

    def ask_host(self, host: Host) -> Reached[Host, VirtualizationDriver]:
        """A host for questions: no long deed delays them, and ``call`` raises Unavailable when it is mute."""
        return Reached(host, self.virtualization(host), f"host:{host.id or host.uri}:query", self.ask)

    def ask_storage(self, storage: Storage) -> Reached[Storage, StorageDriver]:
        """A storage for questions, as ``ask_host``."""
        lane = f"storage:{storage.id or storage.location}:query"
        return Reached(storage, self.deployment(storage), lane, self.ask)

    async def ask(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a question in a lane. A blocked thread can't be ended: it stays behind, nobody waits for it.

        Raises:
            Unavailable: there was no answer in ``PATIENCE`` seconds.
        """
        asked = self._lanes.call(lane, function, *args, **kwargs)
        try:
            return await asked.addTimeout(PATIENCE, self._clock)  # type: ignore[arg-type]  # see ``Timers``
        except defer.TimeoutError:
            raise Unavailable(
                f"no answer within {PATIENCE:g} s",
                subject=lane.removesuffix(":query"),
                hint="see whether what it lies on is mounted and answers",
            ) from None


def _unserved(kind: str, subject: str) -> NoReturn:
    raise StepFailed(f"no started plugin serves {kind}", subject=subject, hint="plugin.start it")


class OnHost:
    """Base of actions on a host: the argument ``host`` names it."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def there(self, ctx: Context, args: Mapping[str, Any]) -> Reached[Host, VirtualizationDriver]:
        """The host with its driver. Raises StepFailed while its plugin is not started."""
        return self._reach.host(host_of(args["host"]), ctx=ctx)


class OnStorage:
    """Base of actions on a storage: the argument ``storage`` names it."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def there(self, ctx: Context, args: Mapping[str, Any]) -> Reached[Storage, StorageDriver]:
        """The storage with its driver. Raises StepFailed while its plugin is not started."""
        return self._reach.storage(storage_of(args["storage"]), ctx=ctx)


def host_lane_driver(store: Store, reach: Reach, lanes: Lanes) -> Callable[[str], None]:
    """The engine's ``abort``: kills a host's connection from a lane of its own, so that a hung call ends."""

    def abort(lane: str) -> None:
        kind, _, rest = lane.partition(":")
        ident = rest.partition(":")[0]
        if kind == "host" and ident.isdigit():
            defer.Deferred.fromCoroutine(_abort(int(ident))).addErrback(
                lambda failure: log.error("abort: %s", failure.value)
            )

    async def _abort(ident: int) -> None:
        host = await store.read(find_host, ident)
        await lanes.call(f"host:{ident}:abort", reach.virtualization(host).abort, host)

    return abort
