"""Hosts and storages as step arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.model import Host, Storage
from qrmd.states import HostState


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
