"""Mail templates: a subject line, an empty line, the text. Secrets and results are filled in only when it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

SECRET = "$secret"  # noqa: S105 - the mark of a reference
SLOT = "$slot"


@dataclass(frozen=True, slots=True)
class Template:
    """A mail's subject and text, both in Jinja2."""

    subject: str
    text: str


def load_templates() -> dict[str, Template]:
    """All ``templates/mail/<name>.txt`` by name; called once, when the plugin is constructed."""
    home = resources.files("qrmd_cloud") / "templates" / "mail"
    found = {}
    for file in home.iterdir():
        subject, _, text = file.read_text(encoding="utf-8").partition("\n\n")
        found[file.name.removesuffix(".txt")] = Template(subject.removeprefix("Subject: "), text)
    return found


def secret(reference: str) -> dict[str, str]:
    """A variable that stands for a secret. A mark of its own: text that a user wrote can never be one."""
    return {SECRET: reference}


def slot(name: str) -> dict[str, str]:
    """A variable that stands for what an earlier step published."""
    return {SLOT: name}


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Fill in a template; a variable that is missing is an error."""
    return _environment().from_string(template).render(variables)


def arguments(template: Template, recipient: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a ``mail.send`` step. The subject is filled in now, so it may name no secret and no slot."""
    return {
        "to": recipient,
        "subject": " ".join(render(template.subject, variables).split()),
        "template": template.text,
        "variables": dict(variables),
    }


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - a start need not wait for what the first mail takes

    return jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - plain text
    )
