"""The operations on appliances and images: what they reserve, and what becomes of it."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Mapping
from functools import partial
from typing import Any

from qrmd.errors import Conflict, NoCapacity
from qrmd.model import Appliance, ApplianceView, Host, Image, ImageView, Storage
from qrmd.placement import SHOWN_VERDICTS, Requirement, judge, shortage
from qrmd.plugins.registries import Registries
from qrmd.states import ApplianceState as A
from qrmd.states import HostState, ResourceState
from qrmd.states import ImageState as I
from qrmd.store import addresses, appliances, claims, hostnames, images, resources, secrets
from qrmd.store.capacity import Capacity
from qrmd.store.connection import Db, Transaction
from qrmd.store.hosts import find as find_host
from qrmd.store.places import find_network, find_storage
from qrmd.store.transitions import transition
from qrmd.workflow.kinds import Journey, WorkflowKind

Arguments = Mapping[str, Any]

PASSWORD_ALPHABET = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # noqa: S105 - nothing that looks alike
PASSWORD_LENGTH = 16
KEPT_VERDICTS = 5
"""Candidates, the best first, of which the reason is kept with the appliance; ``appliance.explain`` knows all."""


class Lifecycle:
    """Builds the workflow kinds of the core.

    Args:
        capacity: what hosts and storages have promised.
        registries: which types can be served now.
        installation: UUID of this qrmd.
    """

    def __init__(self, capacity: Capacity, registries: Registries, installation: str) -> None:
        self._capacity = capacity
        self._registries = registries
        self.installation = installation

    def kinds(self) -> list[WorkflowKind]:
        """All of them."""
        return [*self._appliance_kinds(), *self._image_kinds()]

    # ------------------------------------------------------------ appliances

    def _appliance_kinds(self) -> list[WorkflowKind]:
        view = partial(_appliance_view, self.installation)
        return [
            WorkflowKind(
                "appliance.start",
                "appliance",
                Journey((A.STOPPED, A.ERROR), A.STARTING, A.ACTIVE, A.STOPPED, A.ERROR),
                view,
                lambda hooks, seen: hooks.steps("appliance_start", seen),
                reserve=self._reserve_start,
                complete=self._complete_start,
                release=self._release_start,
                facts=start_facts,
                done_event="appliance.started",
            ),
            WorkflowKind(
                "appliance.stop",
                "appliance",
                Journey((A.ACTIVE, A.PAUSED, A.ERROR), A.STOPPING, A.STOPPED, None, A.ERROR),
                view,
                lambda hooks, seen: hooks.steps("appliance_stop", seen),
                complete=self._complete_stop,
                compensates=False,
                mirrored=True,
                takes_over=("appliance.start", "plugin.reconcile"),
                done_event="appliance.stopped",
            ),
            WorkflowKind(
                "appliance.restart",
                "appliance",
                Journey((A.ACTIVE, A.PAUSED, A.ERROR), A.RESTARTING, A.ACTIVE, None, A.ERROR),
                view,
                lambda hooks, seen: hooks.steps("appliance_restart", seen),
                reserve=self._reserve_restart,
                compensates=False,
                done_event="appliance.restarted",
            ),
            WorkflowKind(
                "appliance.remove",
                "appliance",
                Journey((A.STOPPED, A.ERROR), A.REMOVING, A.REMOVED, None, A.ERROR),
                view,
                lambda hooks, seen: hooks.steps("appliance_remove", seen),
                complete=self._complete_remove,
                compensates=False,
                mirrored=True,
            ),
        ]

    def _reserve_start(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        appliance = appliances.find(db, ident)
        image = images.find(db, appliance.image_id)
        claims.require_settled(db, f"image:{image.id}")
        if image.state != I.IDLE:
            raise Conflict(f"its image {image.name} is {image.state}", subject=f"appliance:{ident}")
        promised = appliances.volumes(db, ident)
        storage = find_storage(db, image.storage_id)
        self._reserve_machine(db, appliance, image, storage, arguments)
        if not promised:
            self._reserve_disk(db, appliance, image, storage)
            for position, network in enumerate(appliance.networks):
                addresses.reserve(db, ident, position, find_network(db, network))
        if not any(volume.made for volume in promised):
            self._reserve_password(db, appliance, arguments, workflow)

    def _reserve_machine(
        self, db: Transaction, appliance: Appliance, image: Image, storage: Storage, arguments: Arguments
    ) -> None:
        if appliance.resource_id is not None:
            _require_host(db, appliance)
            return
        requirement = Requirement(
            appliance.virtualization_type,
            appliance.cpus,
            max(appliance.memory_mb, image.min_memory_mb),
            storage.host_id,
            frozenset(arguments.get("avoid_hosts", ())),
        )
        ranking = self._capacity.ranking(requirement, frozenset(self._registries.virtualization))
        ranked = ranking.best(KEPT_VERDICTS)
        kept = judge(requirement, ranked)
        if not kept or not kept[0].fits:
            everything = judge(requirement, ranking.best(SHOWN_VERDICTS))
            missing = shortage(everything)
            raise NoCapacity(
                _no_host(requirement, len(ranking), missing),
                subject=f"appliance:{appliance.id}",
                hint="add a host, free one, or ask for less; appliance.explain shows each candidate",
                missing=missing,
                candidates=[each.as_dict() for each in everything],
            )
        host: Host = find_host(db, ranked[0].host_id)
        placement = {"candidates": [each.as_dict() for each in kept], "others": len(ranking) - len(kept)}
        appliances.assign_resource(db, appliance, host, self.installation, placement)
        self._capacity.take(db, host.id, appliance.cpus, appliance.memory_mb)

    def _reserve_disk(self, db: Transaction, appliance: Appliance, image: Image, storage: Storage) -> None:
        size = max(appliance.disk_mb, image.size_mb)
        free = int(storage.capacity_mb * storage.overcommit) - self._capacity.storage_used(storage.id)
        if size > free:
            raise NoCapacity(
                f"storage {storage.name} lacks {size - free} MiB for a disk of {size} MiB",
                subject=f"appliance:{appliance.id}",
                hint="make room on it, raise its over-commit, or ask for a smaller disk",
                missing={"disk_mb": size - free},
            )
        appliances.add_volume(db, appliance, image, 0)
        self._capacity.take_storage(db, storage.id, size)

    @staticmethod
    def _reserve_password(db: Transaction, appliance: Appliance, arguments: Arguments, workflow: int) -> None:
        if arguments.get("password") or appliance.ssh_keys or "password" in secrets.named(db, workflow):
            return
        password = "".join(randomness.choice(PASSWORD_ALPHABET) for _ in range(PASSWORD_LENGTH))
        secrets.keep(db, workflow, "password", password)

    @staticmethod
    def _complete_start(db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:  # noqa: ARG004
        appliances.mark_made(db, ident)
        appliances.set_active_since_now(db, ident)
        resource_id, state = appliances.machine_of(db, ident)
        if resource_id is not None and state != ResourceState.ACTIVE:
            transition(db, "resource", resource_id, ResourceState.ACTIVE, likely=state, workflow_id=workflow)

    def _release_start(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        self._drop_machine(db, ident, workflow)
        if not any(volume.made for volume in appliances.volumes(db, ident)):
            self._drop_disks(db, ident)
            addresses.release(db, ident)

    def _complete_stop(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        self._drop_machine(db, ident, workflow)

    def _complete_remove(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        self._drop_machine(db, ident, workflow)
        self._drop_disks(db, ident)
        addresses.release(db, ident)
        hostnames.release(db, f"appliance:{ident}")

    def _drop_machine(self, db: Transaction, ident: int, workflow: int) -> None:
        appliance = appliances.find(db, ident)
        if appliance.resource_id is None:
            return
        resource = resources.find(db, appliance.resource_id)
        transition(db, "resource", resource.id, ResourceState.REMOVED, workflow_id=workflow)
        appliances.detach_resource(db, ident)
        if resource.host_id is not None:
            self._capacity.take(db, resource.host_id, -resource.cpus, -resource.memory_mb)

    def _drop_disks(self, db: Transaction, ident: int) -> None:
        for volume in appliances.drop_volumes(db, ident):
            self._capacity.take_storage(db, volume.storage_id, -volume.size_mb)

    @staticmethod
    def _reserve_restart(db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:  # noqa: ARG004
        appliance = appliances.find(db, ident)
        if appliance.resource_id is None:
            raise Conflict("it has no machine", subject=f"appliance:{ident}", hint="start it instead")
        _require_host(db, appliance)
        if not all(volume.made for volume in appliances.volumes(db, ident)):
            raise Conflict("its first start never ended", subject=f"appliance:{ident}", hint="start it instead")

    # ------------------------------------------------------------ images

    def _image_kinds(self) -> list[WorkflowKind]:
        view = partial(_image_view, self.installation)
        return [
            WorkflowKind(
                "image.import",
                "image",
                Journey((I.NEW,), I.CLONING, I.IDLE, I.REMOVED, I.ERROR),
                view,
                lambda hooks, seen: hooks.steps("image_import", seen),
                facts=image_facts,
                release=self._release_image,
                done_event="image.imported",
            ),
            WorkflowKind(
                "image.clone",
                "image",
                Journey((I.NEW,), I.CLONING, I.IDLE, I.REMOVED, I.ERROR),
                view,
                lambda hooks, seen: hooks.steps("image_clone", seen),
                facts=image_facts,
                reserve=_reserve_copy,
                release=self._release_image,
                done_event="image.cloned",
            ),
            WorkflowKind(
                "image.resize",
                "image",
                Journey((I.IDLE,), I.CLONING, I.IDLE, None, I.ERROR),
                view,
                lambda hooks, seen: hooks.steps("image_resize", seen),
                facts=image_facts,
                reserve=self._reserve_growth,
                release=self._release_growth,
                compensates=False,
                done_event="image.resized",
            ),
            WorkflowKind(
                "image.remove",
                "image",
                Journey((I.IDLE, I.ERROR), I.REMOVING, I.REMOVED, None, I.ERROR),
                view,
                lambda hooks, seen: hooks.steps("image_remove", seen),
                facts=image_facts,
                reserve=_reserve_image_removal,
                complete=self._uncount_image,
                compensates=False,
                mirrored=True,
            ),
        ]

    def _require(self, db: Db, storage_id: int, size: int, subject: str) -> None:
        storage = find_storage(db, storage_id)
        free = int(storage.capacity_mb * storage.overcommit) - self._capacity.storage_used(storage.id)
        if size > free:
            raise NoCapacity(
                f"storage {storage.name} lacks {size - free} MiB", subject=subject, missing={"disk_mb": size - free}
            )

    def add_image(self, db: Transaction, image: Image, actor: str, reason: str) -> int:
        """Insert an image and promise its space. Raises NoCapacity or Conflict."""
        self._require(db, image.storage_id, image.size_mb, f"image:{image.name}")
        ident = images.add(db, image, actor, reason)
        self._capacity.take_storage(db, image.storage_id, image.size_mb)
        return ident

    def _uncount_image(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        image = images.find(db, ident)
        self._capacity.take_storage(db, image.storage_id, -image.size_mb)

    def _release_image(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        image = images.find(db, ident)
        self._capacity.take_storage(db, image.storage_id, -image.size_mb)
        if image.state == I.NEW:
            transition(db, "image", ident, I.REMOVED, workflow_id=workflow)

    def _reserve_growth(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        image = images.find(db, ident)
        extra = arguments["size_mb"] - image.size_mb
        if image.size_mb != arguments["from_mb"]:
            raise Conflict(f"it has become {image.size_mb} MiB meanwhile", subject=f"image:{ident}", hint="ask again")
        if extra < 0:
            raise Conflict(f"it is {image.size_mb} MiB; images only grow", subject=f"image:{ident}")
        claims.require_free(db, f"image:{ident}", workflow)
        users = images.users_of(db, ident)
        if users:
            raise Conflict(f"it is used by {', '.join(users[:5])}", subject=f"image:{ident}", users=users[:100])
        self._require(db, image.storage_id, extra, f"image:{ident}")
        images.set_size(db, ident, arguments["size_mb"])
        self._capacity.take_storage(db, image.storage_id, extra)

    def _release_growth(self, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
        images.set_size(db, ident, arguments["from_mb"])
        image = images.find(db, ident)
        self._capacity.take_storage(db, image.storage_id, arguments["from_mb"] - arguments["size_mb"])

    def save_content(self, db: Transaction, ident: int, fmt: str, size_mb: int, sha256: str) -> None:
        """Keep what an image's content turned out to be; its storage has promised that much then."""
        image = images.find(db, ident)
        images.save_content(db, ident, fmt, size_mb, sha256 or image.sha256)
        self._capacity.take_storage(db, image.storage_id, size_mb - image.size_mb)


def _appliance_view(installation: str, db: Db, ident: int, arguments: Arguments, workflow: int) -> ApplianceView:
    return appliances.view(db, ident, arguments, workflow, installation)


def _image_view(installation: str, db: Db, ident: int, arguments: Arguments, workflow: int) -> ImageView:
    return images.view(db, ident, arguments, workflow, installation)


def _require_host(db: Db, appliance: Appliance) -> None:
    """A machine that an appliance still has can't be started where nothing can be."""
    host = find_host(db, appliance.host_id) if appliance.host_id is not None else None
    if host is not None and host.state == HostState.FENCED:
        raise Conflict(
            f"its machine is on host {host.name}, which is fenced",
            subject=f"appliance:{appliance.id}",
            hint="stop it: that gives the machine up; then it starts on another host",
        )


def _reserve_copy(db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:  # noqa: ARG001
    source = images.find(db, int(images.find(db, ident).source.partition(":")[2]))
    claims.require_settled(db, f"image:{source.id}")
    if source.state != I.IDLE:
        raise Conflict(f"it is {source.state}", subject=f"image:{source.id}", hint="wait until it is idle")


def _reserve_image_removal(db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:  # noqa: ARG001
    claims.require_free(db, f"image:{ident}", workflow)
    users = images.users_of(db, ident)
    if users:
        raise Conflict(
            f"it is used by {', '.join(users[:5])}",
            subject=f"image:{ident}",
            hint="remove those first",
            users=users[:100],
        )


def start_facts(view: ApplianceView) -> dict[str, Any]:
    """What a start has chosen, for people."""
    host = view.host
    return {
        "appliance": view.appliance.name,
        "image": view.image.name,
        "host": host.name if host else "",
        "cpus": view.appliance.cpus,
        "memory_mb": view.appliance.memory_mb,
        "disks": [{"storage": each.storage.name, "size_mb": each.volume.size_mb} for each in view.volumes],
        "addresses": [{"network": each.network.name, "address": each.nic.address} for each in view.nics],
        "placement": view.appliance.placement.get("candidates", []),
    }


def image_facts(view: ImageView) -> dict[str, Any]:
    """What it is about, for people."""
    image = view.image
    source = view.source.name if view.source else image.source
    return {
        "image": image.name,
        "storage": view.storage.name,
        "size_mb": image.size_mb,
        "format": image.format,
        "source": source,
    }


def _no_host(requirement: Requirement, candidates: int, missing: Mapping[str, int]) -> str:
    if not candidates:
        return "there is no host whose virtualization type a started plugin serves"
    lacking = ", ".join(f"{amount} {what}" for what, amount in missing.items())
    wanted = f"{requirement.cpus} cpus and {requirement.memory_mb} MiB"
    return f"none of {candidates} hosts fits {wanted}" + (f"; the nearest lacks {lacking}" if lacking else "")
