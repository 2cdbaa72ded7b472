"""The typed facade over pluggy: the only caller of hooks, and the place where a plugin's fault is contained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pluggy

from qrmd.errors import PluginFault
from qrmd.hooks.specs import PROJECT, Specs
from qrmd.workflow.plan import Step, from_plugin

log = logging.getLogger(__name__)

PLANNER_BUDGET = 0.05

PLANNING = (
    "appliance_start",
    "appliance_stop",
    "appliance_restart",
    "appliance_remove",
    "image_import",
    "image_clone",
    "image_resize",
    "image_remove",
)


class Hooks:
    """One method per kind of hook.

    Args:
        on_fault: told the plugin's name and what it did, before ``PluginFault`` is raised.
    """

    def __init__(self, on_fault: Callable[[str, str], None]) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Specs)
        self._on_fault = on_fault
        self.culprit: str | None = None
        self._implementations: dict[str, tuple[tuple[str, Callable[..., Any]], ...]] = {}

    def add(self, name: str, plugin: object) -> None:
        """Register and check a plugin's implementations.

        Raises:
            PluginFault: an implementation does not fit its specification.
        """
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            self._manager.unregister(name=name)
            raise PluginFault(str(error), subject=f"plugin:{name}") from error
        self._implementations.clear()

    def remove(self, name: str) -> None:
        """Forget a plugin's implementations; unknown is fine."""
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)
        self._implementations.clear()

    def registered(self, name: str, hook: str) -> list[Any]:
        """What plugin ``name`` returns from a ``register_*`` hook (empty: it has none)."""
        for plugin, function in self._of(hook):
            if plugin == name:
                return list(self._call(plugin, hook, function, {}) or ())
        return []

    def implements(self, plugin: str, hook: str) -> bool:
        """Whether a started plugin has this hook."""
        return any(name == plugin for name, _ in self._of(hook))

    def steps(self, hook: str, view: object, *, only: str = "") -> list[Step]:
        """All plugins' steps of a planning verb, or those of one plugin, each signed with its plugin."""
        steps: list[Step] = []
        for plugin, function in self._of(hook):
            if only and plugin != only:
                continue
            answer = self._call(plugin, hook, function, {"view": view})
            if answer:
                steps += from_plugin(self._checked(plugin, hook, answer), plugin)
        return steps

    def objections(self, operation: str, subject: str, view: object, arguments: Mapping[str, Any]) -> list[str]:
        """What speaks against an operation, of all plugins together; a failing plugin is an objection."""
        given = {"operation": operation, "subject": subject, "view": view, "arguments": arguments}
        objections: list[str] = []
        for plugin, function in self._of("operation_check"):
            try:
                objections += self._call(plugin, "operation_check", function, given) or ()
            except PluginFault as fault:
                objections.append(str(fault))
        return objections

    def observers(self) -> dict[str, Callable[..., None]]:
        """The ``on_event`` implementations by plugin."""
        return {
            plugin: lambda _p=plugin, _f=function, **given: self._call(_p, "on_event", _f, given)
            for plugin, function in self._of("on_event")
        }

    def _of(self, hook: str) -> tuple[tuple[str, Callable[..., Any]], ...]:
        """(plugin, function) pairs in the order of registration; functions take named arguments they ask for."""
        known = self._implementations.get(hook)
        if known is None:
            caller = getattr(self._manager.hook, hook)
            known = tuple(
                (each.plugin_name, _narrowed(each.function, each.argnames)) for each in caller.get_hookimpls()
            )
            self._implementations[hook] = known
        return known

    def _call(self, plugin: str, hook: str, function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
        began = time.monotonic()
        self.culprit = plugin
        try:
            return function(given)
        except Exception as error:
            if hook == "on_event":
                raise
            fault = f"{hook} raised {type(error).__name__}: {error}"
            log.exception("plugin %s: %s", plugin, fault)
            self._on_fault(plugin, fault)
            raise PluginFault(
                fault, subject=f"plugin:{plugin}", hint="see the log; stop the plugin or mend it"
            ) from error
        finally:
            self.culprit = None
            spent = time.monotonic() - began
            if spent > PLANNER_BUDGET:
                log.warning("plugin %s: %s took %d ms", plugin, hook, spent * 1000)

    def _checked(self, plugin: str, hook: str, answer: Any) -> Sequence[Step]:
        if isinstance(answer, list | tuple) and all(isinstance(each, Step) for each in answer):
            return answer
        fault = f"{hook} returned {type(answer).__name__}, not a list of steps"
        self._on_fault(plugin, fault)
        raise PluginFault(fault, subject=f"plugin:{plugin}")


def _narrowed(function: Callable[..., Any], names: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    return lambda given: function(*(given[name] for name in names))
