"""Mail: sent at least once, each time under the same Message-ID, so that a reader sees it once."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import cache
from typing import TYPE_CHECKING, Any

from qrmd.errors import InvalidInput, StepFailed
from qrmd.names import check_mail
from qrmd.settings import Settings
from qrmd.store import settings as rows
from qrmd.store.database import Store
from qrmd.vault import Vault
from qrmd.workflow.action import Context, Done, Outcome

if TYPE_CHECKING:
    import jinja2

TIMEOUT = 20.0
SECRET, SLOT = "$secret", "$slot"


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail goes out. ``host`` empty: nowhere."""

    host: str
    port: int
    user: str
    password: str
    starttls: bool
    sender: str


class Mailer:
    """Reads the settings at each mail, so that a change takes effect at once."""

    def __init__(self, store: Store, settings: Settings, vault: Vault, installation: str) -> None:
        self.installation = installation
        self._store = store
        self._settings = settings
        self._vault = vault

    async def server(self) -> Server:
        """The mail server of the settings. Raises StepFailed while none is set."""
        kept = await self._store.read(rows.values)

        def value(name: str) -> Any:
            return kept.get(name, self._settings.get(name).default)

        if not value("smtp.host"):
            raise StepFailed("no mail server is set", subject="setting:smtp.host", hint="settings.set smtp.host")
        sealed = kept.get("smtp.password")
        return Server(
            value("smtp.host"),
            value("smtp.port"),
            value("smtp.user"),
            rows.unsealed(sealed, self._vault) if sealed else "",
            value("smtp.starttls"),
            value("mail.from") or "qrmd@localhost",
        )


class SendMail:
    """A mail has been accepted by the mail server.

    Arguments: ``to``, ``subject``, ``template`` (Jinja2), ``variables``, in which ``{"$secret": "secret:<id>"}`` and
    ``{"$slot": name}`` are filled in at the moment of sending: the journal never holds their values.
    """

    name = "mail.send"
    timeout = 60.0
    retries = 2

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        """Compose and hand over."""
        server = await self._mailer.server()
        variables = resolve(args.get("variables", {}), ctx.secret, ctx.slots)
        text = _environment().from_string(args["template"]).render(variables)
        message = compose(
            server.sender,
            args["to"],
            args["subject"],
            text,
            f"<{ctx.key.replace(':', '.')}.{self._mailer.installation}@qrmd>",
        )
        await ctx.call("smtp", send, server, message)
        return Done()

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - an action's signature
        """What was read can't be unread."""
        return Done()


def resolve(value: Any, secret: Callable[[str], str], slots: Mapping[str, Any]) -> Any:
    """The value with its references filled in; what a slot holds is taken as it is, never resolved again."""
    match value:
        case {"$secret": reference, **rest} if not rest:
            return secret(reference)
        case {"$slot": name, **rest} if not rest:
            return slots[name]
        case Mapping():
            return {key: resolve(each, secret, slots) for key, each in value.items()}
        case list() | tuple():
            return [resolve(each, secret, slots) for each in value]
    return value


def compose(sender: str, to: str, subject: str, text: str, message_id: str = "") -> EmailMessage:
    """A plain-text mail to one recipient. Raises InvalidInput for an address that is none."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = check_mail(to)
    message["Subject"] = " ".join(subject.split())
    message["Date"] = formatdate()
    message["Message-ID"] = message_id or make_msgid(domain="qrmd")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def send(server: Server, message: EmailMessage) -> None:
    """Hand a mail over. Blocks.

    Raises:
        StepFailed: the server is away or will not take it now.
        InvalidInput: the server refuses this mail for good (5xx).
    """
    try:
        with smtplib.SMTP(server.host, server.port, timeout=TIMEOUT) as smtp:
            if server.starttls:
                smtp.starttls(context=ssl.create_default_context())
            if server.user:
                smtp.login(server.user, server.password)
            smtp.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, reply = next(iter(error.recipients.values()))
        _refused(server, code, reply)
    except smtplib.SMTPResponseException as error:
        _refused(server, error.smtp_code, error.smtp_error)
    except (OSError, smtplib.SMTPException) as error:
        raise StepFailed(
            f"the mail server does not take mail: {error}",
            subject=f"{server.host}:{server.port}",
            hint="see settings smtp.*; it is retried",
        ) from error


def _refused(server: Server, code: int, reply: bytes | str) -> None:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    kind = InvalidInput if 500 <= code < 600 and code not in {530, 535} else StepFailed
    raise kind(f"the mail server says {code} {text[:200]}", subject=f"{server.host}:{server.port}")


@cache
def _environment() -> jinja2.Environment:
    from jinja2 import StrictUndefined  # noqa: PLC0415 - a start need not wait for what the first mail takes
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
