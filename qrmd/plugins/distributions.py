"""Installed plugins: entry points of the group ``qrmd.plugins``, imported only when somebody needs them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, is_dataclass
from importlib import metadata

from sqlite_utils.migrations import Migrations

from qrmd.api import Plugin
from qrmd.errors import PluginFault
from qrmd.hooks.registered import Manifest

log = logging.getLogger(__name__)

GROUP = "qrmd.plugins"


@dataclass(slots=True)
class Installed:
    """One entry point.

    Attributes:
        name: of the entry point, which must be the manifest's name.
        package: import name of its top package.
        version: of its distribution.
        fault: why it can't be imported; empty: it can, or nobody has tried.
    """

    name: str
    package: str
    version: str
    entry: metadata.EntryPoint
    fault: str = ""
    _loaded: type[Plugin] | None = field(default=None, repr=False)

    def load(self) -> type[Plugin]:
        """The plugin's class.

        Raises:
            PluginFault: its import fails, or it is not a plugin.
        """
        if self._loaded is None:
            try:
                self._loaded = _checked(self.name, self.entry.load())
            except Exception as error:
                fault = str(error) if isinstance(error, PluginFault) else _describe(error)
                if fault != self.fault:
                    log.exception("plugin %s: %s", self.name, fault)
                self.fault = fault
                raise PluginFault(
                    self.fault, subject=f"plugin:{self.name}", hint="mend or reinstall its distribution"
                ) from error
            self.fault = ""
        return self._loaded

    def manifest(self) -> Manifest:
        """What it says of itself; a plugin that can't be imported has a manifest that says so."""
        try:
            return self.load().manifest
        except PluginFault:
            return Manifest(self.name, self.name, f"can't be imported: {self.fault}", "unknown")


def find_installed() -> dict[str, Installed]:
    """All entry points by name. Nothing is imported."""
    importlib.invalidate_caches()
    found: dict[str, Installed] = {}
    for entry in metadata.entry_points(group=GROUP):
        version = entry.dist.version if entry.dist is not None else ""
        found.setdefault(entry.name, Installed(entry.name, entry.module.partition(".")[0], version, entry))
    return found


def in_order(installed: Mapping[str, Installed], names: Collection[str]) -> list[str]:
    """``names`` with what they require before them; a circle is broken where it is met."""
    ordered: list[str] = []

    def visit(name: str, path: frozenset[str]) -> None:
        if name in ordered or name in path or name not in names:
            return
        if name in installed:
            for each in installed[name].manifest().requires:
                visit(each, path | {name})
        ordered.append(name)

    for name in sorted(names):
        visit(name, frozenset())
    return ordered


def _checked(name: str, plugin: type[Plugin]) -> type[Plugin]:
    manifest = getattr(plugin, "manifest", None)
    if not isinstance(manifest, Manifest):
        raise PluginFault("its class has no manifest")
    if manifest.name != name:
        raise PluginFault(f"its entry point is {name}, its manifest says {manifest.name}")
    if not is_dataclass(getattr(plugin, "config_type", None)):
        raise PluginFault("its config_type is no dataclass")
    migrations = getattr(plugin, "migrations", None)
    if migrations is not None and (not isinstance(migrations, Migrations) or migrations.name != name):
        raise PluginFault(f"its migrations must be Migrations({name!r})")
    return plugin


def _describe(error: BaseException) -> str:
    return f"import raised {type(error).__name__}: {error}"
