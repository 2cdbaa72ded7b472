"""All that a plugin may import. Names here are kept; everything else of ``qrmd`` may move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from sqlite_utils.migrations import Migrations

from qrmd import drivers, events, names, process
from qrmd.auth.realms import Account, Realm
from qrmd.clock import SECOND, from_iso, now_us, to_iso
from qrmd.drivers import (
    Attachment,
    Auditor,
    Found,
    HostFacts,
    HostLoad,
    MachineCallback,
    MachineDisk,
    MachineInfo,
    MachineNic,
    MachineSpec,
    MachineState,
    OwnerTag,
    StorageCapabilities,
    StorageDriver,
    StorageUsage,
    VirtualizationCapabilities,
    VirtualizationDriver,
    VolumeFacts,
)
from qrmd.errors import (
    Busy,
    ConfigInvalid,
    Conflict,
    Forbidden,
    InvalidInput,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    QrmdError,
    StepFailed,
    TooManyRequests,
    Unavailable,
)
from qrmd.hooks.registered import Manifest, Page, Periodic, Service, StateMachine
from qrmd.hooks.specs import hookimpl
from qrmd.model import (
    SYSTEM,
    Actor,
    Appliance,
    ApplianceView,
    Event,
    Host,
    Image,
    ImageView,
    Kernel,
    Network,
    Nic,
    NicView,
    Resource,
    Role,
    Severity,
    Storage,
    Volume,
    VolumeView,
)
from qrmd.operations.call import Call
from qrmd.operations.registry import (
    ADMINISTER,
    ANYBODY,
    CLOUD_CHANGE,
    CLOUD_USE,
    LOOK,
    OPERATE,
    Verb,
    collect,
    verb,
)
from qrmd.operations.schema import Check, Length, ListOptions, Options, Range, Ref
from qrmd.settings import Setting, one_of
from qrmd.states import Edge
from qrmd.store import hostnames, secrets
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import dump, load
from qrmd.store.transitions import transition
from qrmd.web import deeds
from qrmd.workflow.action import Action, Again, Context, Done, Final, Observation, Outcome
from qrmd.workflow.kinds import Journey, WorkflowKind
from qrmd.workflow.plan import OnFailure, Owned, Phase, Plan, Step

P = ParamSpec("P")
T = TypeVar("T")


class Services(Protocol):
    """What the daemon gives to a plugin when it is constructed.

    Attributes:
        installation: UUID of this qrmd, for owner tags.
        config: instance of the plugin's ``config_type``, from its TOML file.
        state_dir: the plugin's own directory, mode 0700.
    """

    installation: str
    config: Any
    state_dir: Path

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` on a snapshot, in a reader thread."""
        ...

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` in one transaction, in the writer thread."""
        ...

    async def blocking(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in the thread of ``lane``."""
        ...

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """Call a verb as ``plugin:<name>`` with an administrator's rights."""
        ...


class Plugin(Protocol):
    """What the entry point of a plugin names: a class constructed when the plugin is started.

    Attributes:
        manifest: read while the plugin is only installed.
        config_type: a frozen dataclass with defaults; unknown keys of the TOML file are refused.
        migrations: the plugin's tables, all prefixed with its name; applied when it is enabled (None: no tables).
    """

    manifest: Manifest
    config_type: type
    migrations: Migrations | None

    def __init__(self, services: Services) -> None: ...


Arguments = Mapping[str, Any]

__all__ = [
    "ADMINISTER",
    "ANYBODY",
    "CLOUD_CHANGE",
    "CLOUD_USE",
    "LOOK",
    "OPERATE",
    "SECOND",
    "SYSTEM",
    "Account",
    "Action",
    "Actor",
    "Again",
    "Appliance",
    "ApplianceView",
    "Arguments",
    "Attachment",
    "Auditor",
    "Busy",
    "Call",
    "Check",
    "ConfigInvalid",
    "Conflict",
    "Context",
    "Db",
    "Done",
    "Edge",
    "Event", "Final",
    "Forbidden",
    "Found",
    "Host",
    "HostFacts",
    "HostLoad",
    "Image",
    "ImageView",
    "InvalidInput",
    "Journey",
    "Kernel",
    "Length",
    "ListOptions",
    "MachineCallback",
    "MachineDisk",
    "MachineInfo",
    "MachineNic",
    "MachineSpec",
    "MachineState",
    "Manifest",
    "Migrations",
    "Network",
    "Nic",
    "NicView",
    "NoCapacity",
    "NotFound",
    "Observation",
    "OnFailure",
    "Options",
    "Outcome",
    "OutcomeUnknown",
    "Owned",
    "OwnerTag",
    "Page",
    "Periodic",
    "Phase",
    "Plan",
    "Plugin",
    "PreconditionFailed",
    "QrmdError",
    "Range",
    "Realm",
    "Ref",
    "Resource",
    "Role",
    "Service",
    "Services",
    "Setting",
    "Severity",
    "StateMachine",
    "Step",
    "StepFailed",
    "Storage",
    "StorageCapabilities",
    "StorageDriver",
    "StorageUsage",
    "TooManyRequests",
    "Transaction",
    "Unavailable",
    "Verb",
    "VirtualizationCapabilities",
    "VirtualizationDriver",
    "Volume",
    "VolumeFacts",
    "VolumeView",
    "WorkflowKind",
    "collect",
    "deeds",
    "drivers",
    "dump",
    "events",
    "from_iso",
    "hookimpl",
    "hostnames",
    "load",
    "names",
    "now_us",
    "one_of",
    "process",
    "secrets",
    "to_iso",
    "transition",
    "verb",
]  # fmt: skip
