"""The core's hook implementations; no logic."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTCP

from qrmd.deployment import adoption, planners
from qrmd.deployment.adoption import Recall
from qrmd.deployment.contents import CopyImage, ImportImage, ResizeImage
from qrmd.deployment.disks import ProvideDisk, RemoveDisk, WithdrawDisk
from qrmd.deployment.lifecycle import Lifecycle
from qrmd.deployment.machines import (
    AwaitAnswer,
    DefineAgain,
    DefineMachine,
    PowerAgain,
    PowerOn,
    ShutDown,
    UndefineMachine,
)
from qrmd.deployment.reach import Reach
from qrmd.hooks.registered import Manifest, Service
from qrmd.hooks.specs import hookimpl
from qrmd.mail import Mailer, SendMail
from qrmd.model import ApplianceView, ImageView
from qrmd.operations.registry import Verb
from qrmd.workflow.action import Action
from qrmd.workflow.kinds import WorkflowKind
from qrmd.workflow.plan import Step


class CorePlugin:
    """Registered by the same path as every other plugin, always started."""

    manifest = Manifest("core", "Core", "images on disks, machines on hosts", "core")

    def __init__(
        self,
        reach: Reach,
        lifecycle: Lifecycle,
        mailer: Mailer,
        reactor: IReactorTCP,
        verbs: Sequence[Verb],
        services: Sequence[Service],
    ) -> None:
        self._reach = reach
        self._lifecycle = lifecycle
        self._mailer = mailer
        self._reactor = reactor
        self._verbs = verbs
        self._services = services

    @hookimpl
    def register_actions(self) -> Sequence[Action]:
        return [
            ProvideDisk(self._reach),
            WithdrawDisk(self._reach),
            RemoveDisk(self._reach),
            DefineMachine(self._reach),
            DefineAgain(self._reach),
            UndefineMachine(self._reach),
            PowerOn(self._reach),
            PowerAgain(self._reach),
            AwaitAnswer(self._reach, self._reactor),
            ShutDown(self._reach),
            ImportImage(self._reach, self._lifecycle),
            CopyImage(self._reach, self._lifecycle),
            ResizeImage(self._reach, self._lifecycle),
            SendMail(self._mailer),
            Recall(),
        ]

    @hookimpl
    def register_workflows(self) -> Sequence[WorkflowKind]:
        return [*self._lifecycle.kinds(), *adoption.kinds(self._lifecycle.installation)]

    @hookimpl
    def register_verbs(self) -> Sequence[Verb]:
        return self._verbs

    @hookimpl
    def register_services(self) -> Sequence[Service]:
        return self._services

    @hookimpl
    def appliance_start(self, view: ApplianceView) -> Sequence[Step]:
        return planners.start(view)

    @hookimpl
    def appliance_stop(self, view: ApplianceView) -> Sequence[Step]:
        return planners.stop(view)

    @hookimpl
    def appliance_restart(self, view: ApplianceView) -> Sequence[Step]:
        return planners.restart(view)

    @hookimpl
    def appliance_remove(self, view: ApplianceView) -> Sequence[Step]:
        return planners.remove(view)

    @hookimpl
    def image_import(self, view: ImageView) -> Sequence[Step]:
        return planners.image_import(view)

    @hookimpl
    def image_clone(self, view: ImageView) -> Sequence[Step]:
        return planners.image_clone(view)

    @hookimpl
    def image_resize(self, view: ImageView) -> Sequence[Step]:
        return planners.image_resize(view)

    @hookimpl
    def image_remove(self, view: ImageView) -> Sequence[Step]:
        return planners.image_remove(view)
