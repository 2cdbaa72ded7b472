"""What the core itself adds to each plan. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qrmd.deployment.places import host_arguments, storage_arguments
from qrmd.model import ApplianceView, Host, ImageView, Resource, Storage, VolumeView
from qrmd.workflow.plan import Owned, Phase, Step

GRACE = 30
"""Seconds a guest gets to power off before the plug is pulled, unless the caller says otherwise."""


def machine_parts(resource: Resource, host: Host) -> tuple[Owned, ...]:
    """What a defined machine leaves on its host."""
    place = f"host:{host.id}"
    return tuple(Owned(kind, resource.uuid, place) for kind in ("domain", "seed", "console"))


def volume_owned(view: VolumeView) -> Owned:
    """A disk on its storage."""
    return Owned("volume", view.volume.name, f"storage:{view.storage.id}")


def bound_to(storage: Storage) -> str:
    """The place of steps on a storage: its host, when only that reaches it."""
    return f"host:{storage.host_id}" if storage.host_id is not None else ""


def start(view: ApplianceView) -> list[Step]:
    """Disks, machine, power, answer."""
    resource, host = view.resource, view.host
    if resource is None or host is None:
        return []
    steps = [_provide(view, each, resource) for each in view.volumes]
    steps.append(_define(view, resource, host))
    where = {"host": host_arguments(host), "uuid": resource.uuid}
    place = f"host:{host.id}"
    address = view.nics[0].nic.address if view.nics else ""
    steps.append(Step("core.power_on", where, Phase.POWER, f"switch {view.appliance.name} on", place=place))
    steps.append(
        Step(
            "core.await_answer",
            {**where, "address": address},
            Phase.WAIT,
            f"wait until {view.appliance.name} answers" + (f" at {address}" if address else ""),
            provides=("answer",),
        )
    )
    return steps


def _provide(view: ApplianceView, each: VolumeView, resource: Resource) -> Step:
    made = each.volume.made
    verb = "open" if made else "clone"
    arguments = {
        "storage": storage_arguments(each.storage),
        "volume": each.volume.name,
        "source": "" if made else view.image.volume,
        "size_mb": each.volume.size_mb,
        "consumer": f"resource:{resource.id}",
        "slot": f"disk.{each.volume.position}",
        "installation": view.installation,
    }
    source = "" if made else f" from image {view.image.name}"
    return Step(
        "core.provide_disk",
        arguments,
        Phase.STORAGE,
        f"{verb} disk {each.volume.position} of {view.appliance.name} on {each.storage.name}{source}",
        provides=(f"disk.{each.volume.position}",),
        owns=() if made else (volume_owned(each),),
        place=bound_to(each.storage),
    )


def _define(view: ApplianceView, resource: Resource, host: Host) -> Step:
    appliance, kernel = view.appliance, view.kernel
    slots = tuple(f"disk.{each.volume.position}" for each in view.volumes)
    machine = {
        "uuid": resource.uuid,
        "name": f"qrmd-{resource.id}-{appliance.name}",
        "cpus": appliance.cpus,
        "memory_mb": appliance.memory_mb,
        "nics": [{"mac": each.nic.mac, "bridge": each.network.bridge} for each in view.nics],
        "kernel": kernel.path if kernel else "",
        "initrd": kernel.initrd if kernel else "",
        "cmdline": kernel.cmdline if kernel else "",
    }
    return Step(
        "core.define_machine",
        {
            "host": host_arguments(host),
            "installation": view.installation,
            "machine": machine,
            "disks": list(slots),
            "seed": _seed(view),
        },
        Phase.BOOT,
        f"define {appliance.name} on {host.name}",
        needs=slots,
        owns=machine_parts(resource, host),
        place=f"host:{host.id}",
    )


def _seed(view: ApplianceView) -> dict[str, Any]:
    appliance = view.appliance
    return {
        "instance": f"{view.installation}-appliance-{appliance.id}",
        "hostname": appliance.hostname,
        "login": appliance.login,
        "ssh_keys": list(appliance.ssh_keys),
        "password": view.arguments.get("password") or view.secrets.get("password", ""),
    }


def stop(view: ApplianceView) -> list[Step]:
    """Power, machine, disks; nothing is undefined or withdrawn before the machine is seen off."""
    resource, host = view.resource, view.host
    if resource is None or host is None:
        return []
    name = view.appliance.name
    where = {"host": host_arguments(host), "uuid": resource.uuid}
    grace = view.arguments.get("grace_seconds", GRACE)
    steps = [
        Step(
            "core.shut_down",
            {**where, "grace": grace},
            Phase.POWER,
            f"shut {name} down on {host.name}",
            provides=("off",),
            place=f"host:{host.id}",
        ),
        Step(
            "core.undefine_machine",
            where,
            Phase.BOOT,
            f"forget {name} on {host.name}",
            needs=("off",),
            disowns=machine_parts(resource, host),
            place=f"host:{host.id}",
        ),
    ]
    steps += [
        Step(
            "core.withdraw_disk",
            {
                "storage": storage_arguments(each.storage),
                "volume": each.volume.name,
                "consumer": f"resource:{resource.id}",
            },
            Phase.STORAGE,
            f"withdraw disk {each.volume.position} of {name} on {each.storage.name}",
            needs=("off",),
            place=bound_to(each.storage),
        )
        for each in view.volumes
    ]
    return steps


def restart(view: ApplianceView) -> list[Step]:
    """Off and on again in place; a machine that its host has lost is defined again, with the disks it had."""
    resource, host = view.resource, view.host
    if resource is None or host is None:
        return []
    name = view.appliance.name
    where = {"host": host_arguments(host), "uuid": resource.uuid}
    grace = view.arguments.get("grace_seconds", GRACE)
    address = view.nics[0].nic.address if view.nics else ""
    place, define = f"host:{host.id}", _define(view, resource, host)
    return [
        *(_provide(view, each, resource) for each in view.volumes),
        Step(
            "core.shut_down",
            {**where, "grace": grace},
            Phase.BOOT,
            f"shut {name} down on {host.name}",
            provides=("off",),
            place=place,
        ),
        replace(
            define,
            action="core.define_again",
            title=f"see that {host.name} knows {name}",
            needs=("off", *define.needs),
            provides=("defined",),
        ),
        Step(
            "core.power_again",
            where,
            Phase.POWER,
            f"switch {name} on",
            needs=("defined",),
            provides=("on",),
            place=place,
        ),
        Step(
            "core.await_answer",
            {**where, "address": address},
            Phase.WAIT,
            f"wait until {name} answers" + (f" at {address}" if address else ""),
            needs=("on",),
            place=place,
        ),
    ]


def remove(view: ApplianceView) -> list[Step]:
    """What a stop does, when something still runs; then the disks."""
    steps = stop(view)
    needs = ("off",) if steps else ()
    for each in view.volumes:
        steps.append(
            Step(
                "core.remove_disk",
                {"storage": storage_arguments(each.storage), "volume": each.volume.name},
                Phase.STORAGE,
                f"remove disk {each.volume.position} of {view.appliance.name} on {each.storage.name}",
                needs=needs,
                disowns=(volume_owned(each),),
                place=bound_to(each.storage),
            )
        )
    return steps


def image_owned(view: ImageView) -> Owned:
    """An image's volume on its storage."""
    return Owned("volume", view.image.volume, f"storage:{view.storage.id}")


def image_import(view: ImageView) -> list[Step]:
    """Copy the file in and look at it."""
    image = view.image
    return [
        Step(
            "core.import_image",
            {
                "storage": storage_arguments(view.storage),
                "volume": image.volume,
                "path": view.arguments["path"],
                "format": image.format,
                "sha256": view.arguments.get("sha256", ""),
                "installation": view.installation,
                "image": image.id,
            },
            Phase.STORAGE,
            f"copy {view.arguments['path']} to image {image.name} on {view.storage.name}",
            owns=(image_owned(view),),
            place=bound_to(view.storage),
        )
    ]


def image_clone(view: ImageView) -> list[Step]:
    """A full, independent copy."""
    assert view.source is not None  # noqa: S101 - reserved by the kind
    return [
        Step(
            "core.copy_image",
            {
                "storage": storage_arguments(view.storage),
                "source": view.source.volume,
                "volume": view.image.volume,
                "size_mb": view.image.size_mb,
                "installation": view.installation,
                "image": view.image.id,
            },
            Phase.STORAGE,
            f"copy image {view.source.name} to {view.image.name} on {view.storage.name}",
            owns=(image_owned(view),),
            place=bound_to(view.storage),
        )
    ]


def image_resize(view: ImageView) -> list[Step]:
    """Grow in place."""
    return [
        Step(
            "core.resize_image",
            {
                "storage": storage_arguments(view.storage),
                "volume": view.image.volume,
                "size_mb": view.arguments["size_mb"],
                "image": view.image.id,
            },
            Phase.STORAGE,
            f"grow image {view.image.name} to {view.arguments['size_mb']} MiB",
        )
    ]


def image_remove(view: ImageView) -> list[Step]:
    """Take the volume away; an adopted one is not ours and stays."""
    if view.image.source == "adopted":
        return []
    return [
        Step(
            "core.remove_disk",
            {"storage": storage_arguments(view.storage), "volume": view.image.volume},
            Phase.STORAGE,
            f"remove image {view.image.name} on {view.storage.name}",
            disowns=(image_owned(view),),
            place=bound_to(view.storage),
        )
    ]
