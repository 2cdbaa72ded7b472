"""What an administrator changes at run time: a typed table of known settings, to which plugins add theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from qrmd.errors import InvalidInput, NotFound, PluginFault
from qrmd.names import check_mail
from qrmd.operations.schema import Check, Length, Range, convert


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: ``smtp.host``; a plugin's begin with its name and a dot.
        hint: its type, as verbs declare theirs: text, integer or boolean, with ``Range``, ``Length``, ``Check`` or
            ``one_of``.
        default: counts while nothing was set.
        help: for people, a line.
        secret: a text that can be set, never read back.
        plugin: who brought it; the registry signs it.
    """

    name: str
    hint: Any
    default: Any
    help: str
    secret: bool = False
    plugin: str = "core"


@dataclass(frozen=True, slots=True)
class Choice(Check):
    """A check of texts that can be listed."""

    allowed: tuple[str, ...] = ()


def one_of(*allowed: str) -> Any:
    """A type hint: one of these texts."""

    def check(value: str) -> str:
        if value not in allowed:
            raise InvalidInput("must be one of " + ", ".join(allowed))
        return value

    return Annotated[str, Choice(check, allowed)]


def _mail_or_empty(value: str) -> str:
    return check_mail(value) if value else ""


_NAME = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9_]*)+")
_Text = Annotated[str, Length(500)]
_Mail = Annotated[str, Check(_mail_or_empty)]

CORE = (
    Setting("smtp.host", _Text, "", "mail server; empty: mail is not sent, and what should be is a visible debt"),
    Setting("smtp.port", Annotated[int, Range(1, 65535)], 25, "its port"),
    Setting("smtp.user", _Text, "", "name to log in there; empty: without logging in"),
    Setting("smtp.password", _Text, "", "password to log in there; it can be set, never read", secret=True),
    Setting("smtp.starttls", bool, False, "insist on STARTTLS"),
    Setting("mail.from", _Mail, "", "sender of our mail"),
    Setting("mail.admin", _Mail, "", "who gets mail for administrators; empty: nobody"),
    Setting("events.keep_days", Annotated[int, Range(1, 36_500)], 365, "age at which events may be archived"),
)  # fmt: skip


class Settings:
    """The known settings: the core's, and those of started plugins."""

    def __init__(self) -> None:
        self._known = {each.name: each for each in CORE}

    def add(self, settings: Iterable[Setting], plugin: str) -> None:
        """Make a plugin's settings known, signed with its name; values that were set before count again."""
        self._known.update({each.name: replace(each, plugin=plugin) for each in settings})

    def remove(self, plugin: str) -> None:
        """Forget a plugin's settings; their values stay."""
        self._known = {name: each for name, each in self._known.items() if each.plugin != plugin}

    def get(self, name: str) -> Setting:
        """The setting.

        Raises:
            NotFound: there is none of that name.
        """
        try:
            return self._known[name]
        except KeyError:
            raise NotFound(
                f"there is no setting {name!r:.80}", hint="settings.get names them all; is its plugin started?"
            ) from None

    def all(self) -> list[Setting]:
        """All, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def check(self, name: str, value: Any) -> Any:
        """The value as the setting wants it.

        Raises:
            NotFound: unknown name.
            InvalidInput: wrong value.
        """
        return convert(self.get(name).hint, value, name)

    def value(self, name: str, values: Mapping[str, Any]) -> Any:
        """What counts of a setting that is not secret: the value that was set, while it still fits, or the default.

        Args:
            values: as the store has them; those of a plugin may be from a release that allowed more.
        """
        known = self.get(name)
        if name not in values:
            return known.default
        try:
            return convert(known.hint, values[name], name)
        except InvalidInput:
            return known.default


def refuse_faulty(settings: Iterable[Setting], plugin: str) -> None:
    """What a plugin registers must be its own, and such that every door can show and set it.

    Raises:
        PluginFault: a name outside of the plugin's, no help, or a default that its own type refuses.
    """
    for each in settings:
        fault = _fault_of(each, plugin)
        if fault:
            raise PluginFault(f"setting {each.name}: {fault}", subject=f"plugin:{plugin}")


def _fault_of(setting: Setting, plugin: str) -> str:
    if not setting.name.startswith(f"{plugin}.") or not _NAME.fullmatch(setting.name):
        return f"its name must be {plugin}.… of a-z, 0-9, '_' and '-'"
    if not setting.help:
        return "it has no help"
    if not isinstance(setting.default, str | int):
        return "its default must be text, an integer or a boolean"
    if setting.secret and setting.default != "":
        return "a secret has no default"
    try:
        fits = convert(setting.hint, setting.default, setting.name) == setting.default
    except (InvalidInput, KeyError, TypeError) as error:
        return f"its default does not fit its type: {error}"
    return "" if fits else "its default does not fit its type"
