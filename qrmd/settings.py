"""What an administrator changes at run time: a typed table of known settings, extensible by plugins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from qrmd.errors import InvalidInput, NotFound
from qrmd.names import check_mail
from qrmd.operations.schema import Check, Length, Range, convert


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        hint: its type, as verbs declare theirs (``operations.schema``).
        secret: it can be set, never read back.
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
    Setting(
        "cloud.approval", one_of("always", "auto", "auto_under"), "always",
        "which requests wait for an approver: always, none (auto), or those that cost more (auto_under)",
    ),
    Setting("cloud.approval_under_ccu", _Text, "0", "with auto_under: CCUs per day up to which nobody is asked"),
    Setting("cloud.max_quantity", Annotated[int, Range(1, 1000)], 20, "most servers in one request"),
    Setting(
        "cloud.grace_seconds", Annotated[int, Range(0, 31_536_000)], 86_400,
        "from stopped for lack of CCUs to removed",
    ),
    Setting("cloud.low_balance_hours", Annotated[int, Range(0, 8760)], 24, "mail the user when CCUs last for less"),
    Setting("events.keep_days", Annotated[int, Range(1, 36_500)], 365, "age at which events may be archived"),
)  # fmt: skip


class Settings:
    """The known settings. Plugins add theirs when they start and take them away when they stop."""

    def __init__(self) -> None:
        self._known = {each.name: each for each in CORE}

    def add(self, settings: list[Setting]) -> None:
        """Make settings known; again with the same names replaces them."""
        self._known.update({each.name: each for each in settings})

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
            raise NotFound(f"there is no setting {name!r:.80}", hint="settings.get names them all") from None

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
