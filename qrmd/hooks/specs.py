"""Every hook a plugin may implement. A hook plans, checks, registers or observes; work happens in actions.

An implementation names only the arguments it needs. Planning verbs are pure: no file, no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from qrmd.drivers import Auditor, StorageDriver, VirtualizationDriver
from qrmd.model import ApplianceView, Event, ImageView
from qrmd.workflow.action import Action
from qrmd.workflow.plan import Step

if TYPE_CHECKING:
    from qrmd.auth.realms import Realm
    from qrmd.hooks.registered import Page, Service, StateMachine
    from qrmd.operations.registry import Verb
    from qrmd.settings import Setting
    from qrmd.store.connection import Transaction
    from qrmd.workflow.kinds import WorkflowKind

PROJECT = "qrmd"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Specs:
    """All hookspecs. The name tells the kind: see ``docs/plugins.md``."""

    # ------------------------------------------------------------ register_*: once, at plugin start

    @hookspec
    def register_actions(self) -> Sequence[Action]:  # type: ignore[empty-body]
        """Actions that this plugin's steps name. Return a list; their names begin with the plugin's."""

    @hookspec
    def register_virtualization_types(self) -> Sequence[VirtualizationDriver]:  # type: ignore[empty-body]
        """Drivers of virtualization types. A type that another plugin serves is refused."""

    @hookspec
    def register_deployment_types(self) -> Sequence[StorageDriver]:  # type: ignore[empty-body]
        """Drivers of deployment types. A type that another plugin serves is refused."""

    @hookspec
    def register_auditors(self) -> Sequence[Auditor]:  # type: ignore[empty-body]
        """What else of ours this plugin makes outside, for the leftovers audit."""

    @hookspec
    def register_verbs(self) -> Sequence[Verb]:  # type: ignore[empty-body]
        """Verbs of the interface: they appear in XML-RPC, CLI and web at once."""

    @hookspec
    def register_workflows(self) -> Sequence[WorkflowKind]:  # type: ignore[empty-body]
        """Operations of the plugin's own that run as workflows."""

    @hookspec
    def register_state_machines(self) -> Sequence[StateMachine]:  # type: ignore[empty-body]
        """State machines of the plugin's own tables."""

    @hookspec
    def register_pages(self) -> Sequence[Page]:  # type: ignore[empty-body]
        """Web pages, with their place in the menu."""

    @hookspec
    def register_settings(self) -> Sequence[Setting]:  # type: ignore[empty-body]
        """What an administrator may set of this plugin at run time. Names begin with the plugin's and a dot."""

    @hookspec
    def register_realms(self) -> Sequence[Realm]:  # type: ignore[empty-body]
        """Sources of accounts that may log in. A name that another plugin serves is refused."""

    @hookspec
    def register_services(self) -> Sequence[Service]:  # type: ignore[empty-body]
        """Things that run while the plugin is started."""

    # ------------------------------------------------------------ *_check: before anything changes

    @hookspec
    def operation_check(  # type: ignore[empty-body]
        self, operation: str, subject: str, view: object, arguments: Mapping[str, Any]
    ) -> Sequence[str]:
        """Objections, one sentence each; empty: none. All plugins are asked, all answers shown together."""

    # ------------------------------------------------------------ planning verbs: pure, return steps

    @hookspec
    def appliance_start(self, view: ApplianceView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the start of an appliance. ``view`` holds what was reserved for it."""

    @hookspec
    def appliance_stop(self, view: ApplianceView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the stop. Phases run mirrored; failures are collected, nothing is undone."""

    @hookspec
    def appliance_restart(self, view: ApplianceView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the restart in place."""

    @hookspec
    def appliance_remove(self, view: ApplianceView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the removal of a stopped appliance."""

    @hookspec
    def image_import(self, view: ImageView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the import of an image."""

    @hookspec
    def image_clone(self, view: ImageView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the clone of an image."""

    @hookspec
    def image_resize(self, view: ImageView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the growth of an image."""

    @hookspec
    def image_remove(self, view: ImageView) -> Sequence[Step]:  # type: ignore[empty-body]
        """Steps to add to the removal of an image."""

    # ------------------------------------------------------------ on_*: after the commit, at least once

    @hookspec
    def on_event(self, event: Event, db: Transaction, request: Callable[[str, Mapping[str, Any]], None]) -> None:
        """See an event, in order, at least once, in the writer thread.

        May write the plugin's own tables through ``db`` and ask for operations with ``request(verb, arguments)``
        (asked once per event and number of the call). Raising retries it with back-off; after some tries the
        event is parked, shown and skippable.
        """
