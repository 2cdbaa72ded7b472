"""Changes of our machines on one host, as they happen, through every restart of its libvirtd.

Events are hints: each one makes us look, and what is seen is reported. After a lost connection everything is looked
at, and what differs is reported, so nothing that happened meanwhile is missed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import libvirt

from qrmd.drivers import MachineCallback, MachineInfo, MachineState
from qrmd.errors import StepFailed
from qrmd.libvirt.connection import Connection, Connections, quietly
from qrmd.libvirt.deadlines import DEADLINES
from qrmd.libvirt.domain import Tagged as _Tagged
from qrmd.libvirt.domain import describe, label_of, lookup, tagged
from qrmd.model import Host

_LOOK_SECONDS = 10.0
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_LIFECYCLE = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE


@dataclass(frozen=True, slots=True)
class _Hint:
    """Something happened to a domain, or (empty ``uuid``) to the connection."""

    uuid: str = ""
    reason: str = ""


class Watch:
    """Watches one host from a thread of its own until ``stop``."""

    def __init__(self, host: Host, connections: Connections, callback: MachineCallback, installation: str = "") -> None:
        """Begin; returns when the first attempt to connect has ended, so that no later event is missed."""
        self._host = host
        self._connections = connections
        self._callback = callback
        self._installation = installation
        self._hints: queue.SimpleQueue[_Hint] = queue.SimpleQueue()
        self._known: dict[str, MachineInfo] = {}
        self._stopped = threading.Event()
        self._attempted = threading.Event()
        threading.Thread(target=self._run, name=f"watch-{host.name}", daemon=True).start()
        self._attempted.wait()

    def stop(self) -> None:
        """End it; no callback begins after the thread has seen this."""
        self._stopped.set()
        self._hints.put(_Hint())

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                connection = self._connections.open(self._host)
            except StepFailed:
                self._attempted.set()
                self._stopped.wait(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
                continue
            failures = 0
            try:
                self._listen(connection)
            except libvirt.libvirtError:
                self._stopped.wait(_RETRY_SECONDS[0])
            finally:
                self._attempted.set()
                connection.close()

    def _listen(self, connection: Connection) -> None:
        self._hints = queue.SimpleQueue()  # hints of a lost connection are void
        with self._subscribed(connection):
            self._look_at_all(connection)
            self._attempted.set()
            while not self._stopped.is_set():
                hint = self._hints.get()
                if not hint.uuid:
                    return
                self._look(connection, hint)

    @contextmanager
    def _subscribed(self, connection: Connection) -> Iterator[None]:
        hints = self._hints
        handle = connection.libvirt

        def lifecycle(_connection: Any, domain: Any, _event: int, _detail: int, _opaque: Any) -> None:
            hints.put(_Hint(domain.UUIDString()))

        def rebooted(_connection: Any, domain: Any, _opaque: Any) -> None:
            hints.put(_Hint(domain.UUIDString(), "rebooted"))

        def failed(
            _connection: Any, domain: Any, _path: str, _alias: str, _action: int, reason: str, _opaque: Any
        ) -> None:
            hints.put(_Hint(domain.UUIDString(), f"ioerror-{reason}" if reason else "ioerror"))

        handle.registerCloseCallback(lambda _connection, _reason, _opaque: hints.put(_Hint()), None)
        with DEADLINES.within(_LOOK_SECONDS, connection.cut):
            numbers = [
                handle.domainEventRegisterAny(None, number, function, None)
                for number, function in (
                    (_LIFECYCLE, lifecycle),
                    (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, rebooted),
                    (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, failed),
                )
            ]
        try:
            yield
        finally:
            connection.cut()  # so that the rest needs no answer
            for number in numbers:
                quietly(lambda number=number: handle.domainEventDeregisterAny(number))  # type: ignore[misc]
            quietly(handle.unregisterCloseCallback)

    def _look_at_all(self, connection: Connection) -> None:
        with DEADLINES.within(_LOOK_SECONDS, connection.cut):
            found = [info for item in tagged(connection.libvirt, self._installation) if (info := describe(item))]
        seen = {info.uuid: info for info in found}
        before, self._known = self._known, seen
        if self._attempted.is_set():
            for info in seen.values():
                if before.get(info.uuid) != info:
                    self._report(info)
            for uuid in before.keys() - seen.keys():
                self._report(_vanished(before[uuid]))

    def _look(self, connection: Connection, hint: _Hint) -> None:
        with DEADLINES.within(_LOOK_SECONDS, connection.cut):
            info = self._find(connection.libvirt, hint.uuid)
        known = self._known.get(hint.uuid)
        if info is not None:
            self._known[hint.uuid] = info
            self._report(_explained(info, hint.reason))
        elif known is not None:
            del self._known[hint.uuid]
            self._report(_vanished(known))

    def _find(self, handle: Any, uuid: str) -> MachineInfo | None:
        domain = lookup(handle, uuid)
        label = label_of(domain) if domain else None
        if label is None or (self._installation and label.tag.installation != self._installation):
            return None
        return describe(_Tagged(domain, label))

    def _report(self, info: MachineInfo) -> None:
        if not self._stopped.is_set():
            self._callback(self._host.name, info)


def _explained(info: MachineInfo, reason: str) -> MachineInfo:
    """The reason that came with the event, where looking shows none or a lesser one."""
    if reason.startswith("ioerror"):
        lesser = info.state is MachineState.PAUSED and info.reason == "ioerror"
        return replace(info, reason=reason) if lesser else info
    return replace(info, reason=reason) if reason and not info.reason else info


def _vanished(info: MachineInfo) -> MachineInfo:
    return replace(info, state=MachineState.OFF, reason="undefined")
