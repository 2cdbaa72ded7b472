"""What plugins have registered: the look-up tables that the rest of the daemon asks at each use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from qrmd.drivers import Auditor, StorageDriver, VirtualizationDriver
from qrmd.errors import PluginFault
from qrmd.hooks.registered import Page, Service, StateMachine
from qrmd.operations.registry import Registry, Verb
from qrmd.settings import Setting, Settings, refuse_faulty
from qrmd.states import MACHINES
from qrmd.store import transitions
from qrmd.workflow.action import Action
from qrmd.workflow.kinds import WorkflowKind

if TYPE_CHECKING:
    from qrmd.auth.realms import Realm

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offered:
    """Everything that one plugin's ``register_*`` hooks returned."""

    actions: tuple[Action, ...] = ()
    virtualization_types: tuple[VirtualizationDriver, ...] = ()
    deployment_types: tuple[StorageDriver, ...] = ()
    auditors: tuple[Auditor, ...] = ()
    verbs: tuple[Verb, ...] = ()
    workflows: tuple[WorkflowKind, ...] = ()
    state_machines: tuple[StateMachine, ...] = ()
    pages: tuple[Page, ...] = ()
    realms: tuple[Realm, ...] = ()
    settings: tuple[Setting, ...] = ()
    services: tuple[Service, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """Names by kind, without empty kinds: what appears and vanishes with the plugin."""
        named = {each.name: sorted(map(NAMES[each.name], getattr(self, each.name))) for each in fields(self)}
        return {kind: names for kind, names in named.items() if names}


NAMES: dict[str, Callable[[Any], str]] = {
    "actions": lambda each: each.name,
    "virtualization_types": lambda each: each.virtualization_type,
    "deployment_types": lambda each: each.deployment_type,
    "auditors": lambda each: each.plugin,
    "verbs": lambda each: each.name,
    "workflows": lambda each: each.operation,
    "state_machines": lambda each: each.kind,
    "pages": lambda each: f"{each.site} {each.path}",
    "realms": lambda each: each.name,
    "settings": lambda each: each.name,
    "services": lambda each: each.name,
}


@dataclass(frozen=True, slots=True)
class Registries:
    """The tables. Plugins come and go while the daemon runs, so nobody keeps what was found in them.

    Attributes:
        actions: by name.
        kinds: workflow kinds by operation.
        virtualization: drivers by virtualization type.
        deployment: drivers by deployment type.
        realms: sources of accounts by name.
        auditors: in order of registration.
        pages: in order of registration.
    """

    actions: dict[str, Action] = field(default_factory=dict)
    kinds: dict[str, WorkflowKind] = field(default_factory=dict)
    virtualization: dict[str, VirtualizationDriver] = field(default_factory=dict)
    deployment: dict[str, StorageDriver] = field(default_factory=dict)
    realms: dict[str, Realm] = field(default_factory=dict)
    auditors: list[Auditor] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    verbs: Registry = field(default_factory=Registry)
    settings: Settings = field(default_factory=Settings)
    offered: dict[str, Offered] = field(default_factory=dict)

    def types(self) -> dict[str, list[str]]:
        """Names of the types that started plugins serve."""
        return {"virtualization": sorted(self.virtualization), "deployment": sorted(self.deployment)}

    def put(self, plugin: str, offered: Offered) -> None:
        """Add everything a plugin offers, or nothing.

        Raises:
            PluginFault: a name is taken, or offered twice; nothing was added.
        """
        self.check(plugin, offered)
        self.verbs.add(list(offered.verbs), plugin)
        self.settings.add(offered.settings, plugin)
        for table, values, key in self._tables(offered):
            table.update({key(each): each for each in values})
        for machine in offered.state_machines:
            edges = frozenset((edge.source.value, edge.target.value) for edge in machine.edges)
            transitions.add_machine(machine.kind, machine.table, edges)
        self.auditors.extend(offered.auditors)
        self.pages.extend(offered.pages)
        self.offered[plugin] = offered

    def take_out(self, plugin: str) -> None:
        """Remove exactly what ``put`` added; unknown is fine."""
        offered = self.offered.pop(plugin, None)
        if offered is None:
            return
        self.verbs.remove(plugin)
        self.settings.remove(plugin)
        for table, values, key in self._tables(offered):
            for each in values:
                del table[key(each)]
        for machine in offered.state_machines:
            transitions.remove_machine(machine.kind)
        _remove(self.auditors, offered.auditors)
        _remove(self.pages, offered.pages)

    def check(self, plugin: str, offered: Offered) -> None:
        """Refuse names that are taken, and settings that could not be shown or set.

        Raises:
            PluginFault: names kind, name and who has it.
        """
        refuse_faulty(offered.settings, plugin)
        taken = {
            (kind, name): owner
            for owner, theirs in self.offered.items()
            for kind, names in theirs.as_dict().items()
            for name in names
        }
        taken |= {("state_machines", kind): "core" for kind in MACHINES}
        taken |= {("settings", each.name): each.plugin for each in self.settings.all()}
        taken |= {("verbs", each.name): each.plugin for each in self.verbs.all()}
        for kind, names in offered.as_dict().items():
            if kind in {"services", "auditors"}:
                continue
            for name in names:
                if (kind, name) in taken:
                    what = kind.replace("_", " ")
                    raise PluginFault(
                        f"{what}: {name} is taken by plugin {taken[kind, name]}", subject=f"plugin:{plugin}"
                    )
                taken[kind, name] = plugin

    def _tables(self, offered: Offered) -> Iterable[tuple[dict[str, Any], tuple[Any, ...], Callable[[Any], str]]]:
        return (
            (self.actions, offered.actions, NAMES["actions"]),
            (self.kinds, offered.workflows, NAMES["workflows"]),
            (self.virtualization, offered.virtualization_types, NAMES["virtualization_types"]),
            (self.deployment, offered.deployment_types, NAMES["deployment_types"]),
            (self.realms, offered.realms, NAMES["realms"]),
        )


def _remove(target: list[T], gone: tuple[T, ...]) -> None:
    """By identity: two plugins may register values that are equal."""
    ids = {id(each) for each in gone}
    target[:] = [each for each in target if id(each) not in ids]
