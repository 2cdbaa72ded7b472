"""libvirt's event loop: one thread for the whole process, started before the first connection is opened."""

from __future__ import annotations

import functools
import threading

import libvirt


@functools.cache
def run_event_loop() -> None:
    """Start the loop, once. Keep-alive, close callbacks and events need it; callbacks must never block in it."""
    libvirt.registerErrorHandler(_ignore, None)  # errors come as exceptions; the default prints them as well
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run, name="libvirt-events", daemon=True).start()


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ignore(_context: object, _error: object) -> None:
    pass
