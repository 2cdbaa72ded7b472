"""Verbs about storages, networks and kernels."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Annotated, Any

from qrmd.deployment.sources import check_source, check_target
from qrmd.errors import Conflict, InvalidInput
from qrmd.model import Kernel, Network, Storage
from qrmd.operations.call import Call
from qrmd.operations.inputs import Address, Bridge, Domain, Name, Path, Ref, Text
from qrmd.operations.registry import ADMINISTER, LOOK, OPERATE, verb
from qrmd.operations.schema import ListOptions, Options, Range, Served
from qrmd.store import hosts, places

_OPTIONS, _LIST = Options(), ListOptions()
BOOT = FilePath("/boot")
OURS = ("plugins", "tls", "backups")
"""Directories of the daemon in its state directory."""
LARGEST_RANGE = 2**20


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """A storage to add.

    Attributes:
        type: deployment type of its volumes, ``dir``.
        location: what the type's driver takes: a directory, a volume group, …
        host: the only host that reaches it (empty: all do).
        capacity_mb: MiB that may be promised (0: the size of the place).
        overcommit: promised per real, for thin volumes.
    """

    name: Name
    location: Path
    type: Annotated[Text, Served("deployment")] = "dir"
    host: Ref = ""
    capacity_mb: Annotated[int, Range(0, 2**40)] = 0
    overcommit: Annotated[float, Range(0.1, 100)] = 1.0


@verb("storage.add", roles=ADMINISTER, changes=True)
async def storage_add(call: Call, spec: StorageSpec, options: Options = _OPTIONS) -> Any:
    """Add a storage: it is looked at first; what is missing is said. Returns its id."""
    ours = [call.core.store.path.parent / each for each in OURS]
    await call.core.reach.ask(f"storage:{spec.location}:query", check_target, spec.location, ours)
    if spec.type not in call.core.registries.deployment:
        served = ", ".join(sorted(call.core.registries.deployment)) or "none"
        raise InvalidInput(f"no started plugin serves the type {spec.type!r:.80}", hint=f"served now: {served}")
    host = await call.read(hosts.find, spec.host) if spec.host else None
    storage = Storage(
        0, spec.name, spec.type, spec.location, host.id if host else None, spec.capacity_mb, spec.overcommit
    )
    there = call.core.reach.ask_storage(storage)
    problems = await there.call(there.driver.check)
    if problems:
        raise Conflict("; ".join(problems), subject=f"storage:{spec.name}", hint="mend that, then add it again")
    capacity = spec.capacity_mb or (await there.call(there.driver.usage)).total_mb
    return await call.change(
        options, places.add_storage, replace(storage, capacity_mb=capacity), call.actor.name, options.reason
    )


@verb("storage.list", roles=LOOK)
async def storage_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Storages with what is promised on them, a page at a time; none of them is asked."""
    return await call.read(places.list_storages, options)


@verb("storage.get", roles=LOOK)
async def storage_get(call: Call, storage: Ref) -> dict[str, Any]:
    """One storage: what it has promised, what is on it, and what is free there.

    ``seen_at`` says of when ``total_mb`` and ``free_mb`` are; ``silent_since`` and ``fault`` are there when the
    storage does not answer now.
    """
    found = await call.read(places.find_storage, storage)
    shown = await call.read(places.show_storage, found.id)
    if found.deployment_type not in call.core.registries.deployment:
        return {**shown, "served": False}
    there = call.core.reach.ask_storage(found)
    sighting = await call.core.reach.sightings.look(f"storage:{found.id}", lambda: there.call(there.driver.usage))
    usage = sighting.value
    space = {"total_mb": usage and usage.total_mb, "free_mb": usage and usage.free_mb}
    return {**shown, "served": True, **space, **sighting.as_dict()}


@verb("storage.remove", roles=OPERATE, changes=True)
async def storage_remove(call: Call, storage: Ref, options: Options = _OPTIONS) -> Any:
    """Forget a storage that holds nothing of ours; nothing is changed on it."""
    return await call.change(options, places.remove, "storage", storage, call.actor.name, options.reason)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A managed network.

    Attributes:
        bridge: the Linux bridge that its hosts have.
        range: addresses we give out, ``10.0.0.100-10.0.0.199`` (empty: all of ``cidr`` but its first one, which
            belongs to the bridge, the gateway and the name servers).
        gateway: router told to guests (empty: none).
        dns: name servers told to guests.
        domain: domain told to guests (empty: none).
    """

    name: Name
    bridge: Bridge
    cidr: Text
    range: Text = ""
    gateway: Address | None = None
    dns: tuple[Address, ...] = ()
    domain: Domain | None = None


@verb("network.add", roles=OPERATE, changes=True)
async def network_add(call: Call, spec: NetworkSpec, options: Options = _OPTIONS) -> Any:
    """Make a bridge's network known, with the addresses that we give out on it. Returns its id."""
    network = checked_network(spec)
    return await call.change(options, places.add_network, network, call.actor.name, options.reason)


def checked_network(spec: NetworkSpec) -> Network:
    """The network of a spec. Raises InvalidInput when its parts do not fit together."""
    try:
        cidr = ipaddress.ip_network(spec.cidr)
    except ValueError as error:
        raise InvalidInput(f"cidr: {error}", hint="as 10.0.0.0/24") from None
    if cidr.is_loopback or cidr.is_multicast or cidr.is_unspecified:
        raise InvalidInput(f"cidr {cidr} is no network for machines")
    first, last = _range(spec.range, cidr)
    if spec.gateway and ipaddress.ip_address(spec.gateway) not in cidr:
        raise InvalidInput(f"gateway {spec.gateway} is not in {cidr}")
    if int(last) - int(first) >= LARGEST_RANGE:
        raise InvalidInput(f"the range has more than {LARGEST_RANGE} addresses", hint="give a smaller one")
    return Network(
        0, spec.name, spec.bridge, str(cidr), str(first), str(last), spec.gateway or "", spec.dns, spec.domain or ""
    )


Address4or6 = ipaddress.IPv4Address | ipaddress.IPv6Address
Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network


def _range(text: str, cidr: Cidr) -> tuple[Address4or6, Address4or6]:
    if not text:
        final = min(cidr.num_addresses - 2, LARGEST_RANGE)
        if final < 2:
            raise InvalidInput(f"cidr {cidr} has no address to give out", hint="its first one belongs to the bridge")
        return cidr[2], cidr[final]
    low, _, high = text.partition("-")
    try:
        first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address((high or low).strip())
    except ValueError:
        raise InvalidInput("range is not two addresses", hint="as 10.0.0.100-10.0.0.199") from None
    if first.version != cidr.version or first not in cidr or last not in cidr or int(first) > int(last):
        raise InvalidInput(f"range is not in {cidr}, or begins after its end")
    if cidr.num_addresses > 2 and (first == cidr.network_address or last == cidr[-1]):
        raise InvalidInput(f"range holds the network's own or its broadcast address ({cidr[0]}, {cidr[-1]})")
    return first, last


@verb("network.list", roles=LOOK)
async def network_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Managed networks, a page at a time."""
    return await call.read(places.list_networks, options)


@verb("network.get", roles=LOOK)
async def network_get(call: Call, network: Ref) -> dict[str, Any]:
    """One network, and who holds its addresses."""
    return await call.read(places.show_network, network)


@verb("network.remove", roles=OPERATE, changes=True)
async def network_remove(call: Call, network: Ref, options: Options = _OPTIONS) -> Any:
    """Forget a network that nothing is on; its bridge stays."""
    return await call.change(options, places.remove, "network", network, call.actor.name, options.reason)


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """A kernel on the server: absolute paths of files in its import directories or ``/boot``, and its command line."""

    name: Name
    path: Path
    initrd: Path = ""
    cmdline: Text = ""


@verb("kernel.add", roles=OPERATE, changes=True)
async def kernel_add(call: Call, spec: KernelSpec, options: Options = _OPTIONS) -> Any:
    """Make a kernel known. Returns its id."""
    if not spec.path:
        raise InvalidInput("spec.path is empty", hint="give the absolute path of a kernel on the server")
    given = (*call.core.import_dirs, BOOT), call.core.store.path.parent
    path = await call.core.lanes.call("files", check_source, spec.path, *given)
    initrd = await call.core.lanes.call("files", check_source, spec.initrd, *given) if spec.initrd else ""
    kernel = Kernel(0, spec.name, str(path), str(initrd), spec.cmdline)
    return await call.change(options, places.add_kernel, kernel, call.actor.name, options.reason)


@verb("kernel.list", roles=LOOK)
async def kernel_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Kernels, a page at a time."""
    return await call.read(places.list_kernels, options)


@verb("kernel.remove", roles=OPERATE, changes=True)
async def kernel_remove(call: Call, kernel: Ref, options: Options = _OPTIONS) -> Any:
    """Forget a kernel that nothing boots; its files stay."""
    return await call.change(options, places.remove, "kernel", kernel, call.actor.name, options.reason)
