"""The composition root: the only place where parts are constructed and wired."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

import qrmd.operations.appliances
import qrmd.operations.audit
import qrmd.operations.events
import qrmd.operations.fencing
import qrmd.operations.hosts
import qrmd.operations.images
import qrmd.operations.introspection
import qrmd.operations.places
import qrmd.operations.plugins
import qrmd.operations.resources
import qrmd.operations.system
import qrmd.operations.users
import qrmd.operations.workflows
from qrmd import config as configuration
from qrmd.auth import Authenticator, Passwords
from qrmd.backups import Backups
from qrmd.config import Config
from qrmd.core import Core
from qrmd.deployment.lifecycle import Lifecycle
from qrmd.deployment.plugin import CorePlugin
from qrmd.deployment.reach import Reach, host_lane_driver
from qrmd.errors import ConfigInvalid, QrmdError
from qrmd.hooks.calls import Hooks
from qrmd.hooks.registered import Periodic
from qrmd.log import start_logging
from qrmd.mail import Mailer
from qrmd.model import Actor
from qrmd.monitor import POLL_SECONDS, Monitor
from qrmd.notify import inherited, notify
from qrmd.operations.call import dispatch
from qrmd.operations.registry import Verb, collect
from qrmd.outbox import Outbox
from qrmd.plugins.lifecycle import Plugins
from qrmd.plugins.registries import Registries
from qrmd.plugins.started import PluginParts
from qrmd.preparation import Prepared, prepare
from qrmd.threads import Lanes
from qrmd.timers import Timers
from qrmd.watchdog import Watchdog
from qrmd.web.health import handlers, liveness
from qrmd.web.request import Bounded, Limits, Site, secured
from qrmd.web.tls import Certificate, ensure_certificate, load_certificate, make_context
from qrmd.web.tree import Pages
from qrmd.web.xmlrpc import XmlRpc
from qrmd.workflow.engine import Engine
from qrmd.workflow.parts import Parts

log = logging.getLogger("qrmd")
reactor: Any = _reactor
Deliver = Callable[[Callable[[], None]], Any]

VERB_MODULES = (
    qrmd.operations.appliances,
    qrmd.operations.audit,
    qrmd.operations.events,
    qrmd.operations.fencing,
    qrmd.operations.hosts,
    qrmd.operations.images,
    qrmd.operations.introspection,
    qrmd.operations.places,
    qrmd.operations.plugins,
    qrmd.operations.resources,
    qrmd.operations.system,
    qrmd.operations.users,
    qrmd.operations.workflows,
)
DRAIN_SECONDS = 10.0
TICK = 0.1


def deliver(function: Callable[[], None]) -> None:
    """Hand a function over to the reactor thread."""
    reactor.callFromThread(function)


def core_verbs() -> list[Verb]:
    """The verbs of the core."""
    return collect(*VERB_MODULES)


class Asking:
    """How steps, observers and plugins call verbs: the core is known only when everything else is."""

    core: Core

    async def by_name(
        self,
        actor: Actor,
        verb: str,
        arguments: Mapping[str, Any],
        options: Mapping[str, Any],
        parent: int | None = None,
    ) -> Any:
        """Arguments by name."""
        return await self.core.ask(actor, verb, arguments, options, parent)

    async def in_order(self, actor: Actor, verb: str, arguments: Sequence[Any]) -> Any:
        """Arguments in order."""
        return await dispatch(self.core, actor, verb, arguments)

    async def resume(self) -> None:
        """A plugin was started: workflows of its kinds go on."""
        await self.core.engine.recover()

    def quarantine(self, plugin: str, fault: str) -> None:
        """A hook of a plugin failed."""
        self.core.plugins.quarantine(plugin, fault)


def build(prepared: Prepared, clock: Timers, deliver: Deliver) -> Core:
    """Construct and wire the parts that verbs reach; nothing runs yet.

    Args:
        clock: turns time, the reactor or that of a test.
        deliver: hands a function over to its thread.
    """
    config, store = prepared.config, prepared.store
    asking, registries, lanes = Asking(), Registries(), Lanes(deliver)
    reach, hooks = Reach(registries, lanes, clock), Hooks(asking.quarantine)
    outbox = Outbox(store, asking.by_name, clock, deliver)
    plugins = Plugins(
        PluginParts(
            store,
            hooks,
            lanes,
            registries,
            outbox,
            clock,
            asking.in_order,
            prepared.installation,
            config.server.state_dir,
            configuration.plugin_directory(prepared.config_path),
            asking.resume,
        )
    )
    parts = Parts(
        store,
        hooks,
        registries.actions,
        registries.kinds,
        lanes,
        prepared.vault,
        clock,
        asking.by_name,
        host_lane_driver(store, reach, lanes),
    )
    asking.core = Core(
        prepared.installation,
        store,
        hooks,
        registries,
        lanes,
        Engine(parts, config.limits.workflows),
        outbox,
        plugins,
        Authenticator(store, Passwords(deliver), registries.realms),
        Backups(store, lanes, config.backup_dir),
        prepared.capacity,
        Lifecycle(prepared.capacity, registries, prepared.installation),
        reach,
        import_dirs=tuple(map(Path, config.images.import_dirs)),
        starting=["the daemon is starting"],
    )
    return asking.core


def build_in(prepared: Prepared, core: Core, clock: Any, deliver: Deliver) -> tuple[CorePlugin, Monitor]:
    """The core's own plugin, and the monitor that it runs."""
    monitor = Monitor(
        core.store,
        core.reach,
        core.capacity,
        deliver,
        core.engine.wake_subject,
        core.installation,
    )
    plugin = CorePlugin(
        core.reach,
        core.lifecycle,
        Mailer(core.store, core.settings, prepared.vault, core.installation),
        clock,
        core_verbs(),
        [Periodic("hosts", POLL_SECONDS, monitor.poll)],
    )
    return plugin, monitor


async def bring_up(core: Core, built_in: CorePlugin) -> int:
    """Plugins, then what a crash left. Returns how many workflows were taken up."""
    await core.plugins.build_in(built_in)
    await core.outbox.start()
    await core.plugins.start_enabled()
    return await core.engine.recover()


async def take_down(core: Core, monitor: Monitor) -> None:
    """No more looks, plugins and events; what ``bring_up`` did."""
    monitor.stop()
    await core.plugins.stop_all()
    await core.outbox.stop()


def _spare_collections() -> None:
    """What is there now stays for good: the collector needs not look at it each time, nor every 700 objects."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


class Daemon:
    """Start and end of a running daemon."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self.core = build(prepared, reactor, deliver)
        self._built_in, self._monitor = build_in(prepared, self.core, reactor, deliver)
        self._watchdog = Watchdog(
            prepared.config.server.state_dir,
            prepared.config.limits.hold_seconds,
            self.core.plugins.packages,
            lambda: self.core.hooks.culprit,
        )
        self._ports: list[Any] = []
        self._sites: tuple[Pages, ...] = ()

    async def start(self) -> None:
        """Plugins, what a crash left, then the doors are opened."""
        core, config = self.core, self._prepared.config
        core.store.start()
        self._watchdog.start(reactor)
        recovered = await bring_up(core, self._built_in)
        certificate = self._certificate()
        self._listen(certificate)
        core.starting.clear()
        core.plugins.beat()
        _spare_collections()
        log.info("ready: %d workflows taken up, certificate SHA-256 %s", recovered, certificate.fingerprint)
        self._announce(config, certificate)
        notify("READY=1")

    def _certificate(self) -> Certificate:
        tls = self._prepared.config.tls
        if tls.certificate:
            return load_certificate(Path(tls.certificate), Path(tls.key))
        return ensure_certificate(self._prepared.config.server.state_dir / "tls", tls.names)

    def _listen(self, certificate: Certificate) -> None:
        config = self._prepared.config
        passed = inherited()
        limits = Limits(body=config.limits.body_bytes)
        rpc = XmlRpc(self.core)
        self._sites = admin_pages, portal_pages = (
            Pages(self.core, "admin", reactor),
            Pages(self.core, "portal", reactor),
        )
        context = make_context(certificate)
        admin = Site(admin_pages, reactor, direct=handlers(self.core, rpc), limits=limits)
        portal = Site(portal_pages, reactor, limits=limits)
        boot = Site(Resource(), reactor, direct=liveness(), limits=limits)
        self._open(config.listen.admin, "admin", secured(admin, context), passed)
        self._open(config.listen.portal, "portal", secured(portal, context), passed)
        self._open(config.listen.boot, "boot", Bounded(boot, limits), passed)

    def _open(self, address: str, name: str, factory: Bounded, passed: Mapping[str, int]) -> None:
        if not address:
            return
        if address == "inherit":
            if name not in passed:
                raise ConfigInvalid(
                    "no socket of that name was passed", subject=f"listen.{name}", hint="see LISTEN_FDNAMES"
                )
            listening = socket.socket(fileno=passed[name])
            listening.setblocking(False)
            self._ports.append(reactor.adoptStreamPort(listening.fileno(), listening.family, factory))
            listening.close()
            return
        host, port = configuration.split_address(address)
        self._ports.append(reactor.listenTCP(port, factory, interface=host))

    def _announce(self, config: Config, certificate: Certificate) -> None:
        """On standard output, once: the generated password goes nowhere else."""
        listen = config.listen
        lines = [
            f"admin    https://{listen.admin}",
            f"portal   https://{listen.portal}",
            f"boot     http://{listen.boot}",
        ]
        lines.append(f"certificate SHA-256 {certificate.fingerprint}")
        if self._prepared.password is not None:
            lines.append(f"first administrator: admin   password: {self._prepared.password}")
            self._prepared.password = None
        print("\n".join(lines), flush=True)  # noqa: T201 - what a person starting it sees

    async def stop(self) -> None:
        """A graceful stop leaves the same rows as a crash; it only lets attempts under way end."""
        notify("STOPPING=1")
        for port in self._ports:
            port.stopListening()
        for site in self._sites:
            site.stop()
        self.core.engine.drain()
        await _pause(TICK)  # what ends is still to be written
        waited = TICK
        while not self.core.engine.idle and waited < DRAIN_SECONDS:
            await _pause(TICK)
            waited += TICK
        await take_down(self.core, self._monitor)
        self.core.auth.stop()
        self._watchdog.stop()
        self.core.lanes.stop()
        self.core.store.stop()


def _pause(seconds: float) -> Deferred[None]:
    pause: Deferred[None] = Deferred()
    reactor.callLater(seconds, pause.callback, None)
    return pause


def run(config_path: Path) -> int:
    """Run until a signal; returns the exit status."""
    config = configuration.load_config(config_path)
    start_logging(config.server.log_level)
    daemon = Daemon(prepare(config, config_path, deliver))
    status = 0

    def failed(failure: Any) -> None:
        nonlocal status
        status = 1
        error = failure.value
        log.error("start failed: %s", error if isinstance(error, QrmdError) else failure.getTraceback())
        with suppress(Exception):
            reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(daemon.start()).addErrback(failed))
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(daemon.stop()))
    reactor.suggestThreadPoolSize(4)
    reactor.run()
    return status
