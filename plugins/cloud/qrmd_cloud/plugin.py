"""The plugin: what it says of itself and the hooks it implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qrmd.api import (
    Action,
    Event,
    Manifest,
    Page,
    Service,
    Services,
    Setting,
    StateMachine,
    Transaction,
    Verb,
    WorkflowKind,
    collect,
    hookimpl,
)
from qrmd_cloud import states
from qrmd_cloud.account import AccountVerbs
from qrmd_cloud.actions import MakeServers, RemoveServers
from qrmd_cloud.config import Config
from qrmd_cloud.kinds import Kinds
from qrmd_cloud.mail import load_templates
from qrmd_cloud.migrations import cloud
from qrmd_cloud.observer import Observer
from qrmd_cloud.pages import Pages
from qrmd_cloud.periodic import Schedule
from qrmd_cloud.products import Products
from qrmd_cloud.queue import Queue
from qrmd_cloud.realm import CloudRealm
from qrmd_cloud.requests import Requests
from qrmd_cloud.rules import RuleBook
from qrmd_cloud.servers import Servers
from qrmd_cloud.settings import SETTINGS
from qrmd_cloud.users import Users


class Plugin:
    """``cloud``."""

    manifest = Manifest(
        name="cloud",
        title="Cloud",
        description="Cloud users order servers, an administrator approves, CCUs pay for them",
        kind="cloud",
    )
    config_type = Config
    migrations = cloud

    def __init__(self, services: Services) -> None:
        rules = RuleBook(services)
        self._actions = (MakeServers(services, rules), RemoveServers(services))
        self._kinds = Kinds(rules, load_templates())
        self._observer = Observer(rules)
        self._schedule = Schedule(services, rules)
        self._realm = CloudRealm(services)
        self._pages = Pages(services)
        self._homes = (
            Users(services),
            Requests(services, rules),
            AccountVerbs(),
            Servers(services),
            Products(),
            Queue(services, rules),
        )

    @hookimpl
    def register_actions(self) -> Sequence[Action]:
        """Make and remove the servers of a request."""
        return self._actions

    @hookimpl
    def register_verbs(self) -> Sequence[Verb]:
        """``cloud.*``."""
        return collect(*self._homes)

    @hookimpl
    def register_workflows(self) -> Sequence[WorkflowKind]:
        """Provision, de-provision, mail."""
        return self._kinds.all()

    @hookimpl
    def register_state_machines(self) -> Sequence[StateMachine]:
        """Requests, servers and mails."""
        return [
            StateMachine("cloud_request", "cloud_requests", states.RequestState, states.REQUEST_EDGES),
            StateMachine("cloud_server", "cloud_servers", states.ServerState, states.SERVER_EDGES),
            StateMachine("cloud_mail", "cloud_mails", states.MailState, states.MAIL_EDGES),
        ]

    @hookimpl
    def register_settings(self) -> Sequence[Setting]:
        """Approval policy, limits, grace."""
        return SETTINGS

    @hookimpl
    def register_realms(self) -> Sequence[CloudRealm]:
        """Cloud users may log in."""
        return [self._realm]

    @hookimpl
    def register_pages(self) -> Sequence[Page]:
        """The portal, and the requests for administrators."""
        return self._pages.all()

    @hookimpl
    def register_services(self) -> Sequence[Service]:
        """Bills and the schedule."""
        return self._schedule.all()

    @hookimpl
    def on_event(self, event: Event, db: Transaction, request: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Follow appliances, send mails, wake the queue."""
        self._observer.see(event, db, request)
