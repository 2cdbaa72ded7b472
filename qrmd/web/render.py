"""From values to HTML: Jinja2 with everything escaped and nothing undefined."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from qrmd.clock import SECOND, from_iso, now_us
from qrmd.web.labels import show_label

TEMPLATES = Path(__file__).parent / "templates"

_TONES = {
    "good": "active up done idle started ok ready approved fits paid set",
    "busy": "starting stopping restarting updating migrating failing_over removing cloning booting assigned planning "
    "running undoing waiting provisioning deprovisioning pending new",
    "warn": "debt owed maintenance paused lost unreachable skipped undone cancelled expired no_resource abandoned "
    "warning degraded exhausted orphaned missing unknown",
    "bad": "error stuck failed fenced quarantined denied",
}
TONES = {state: tone for tone, states in _TONES.items() for state in states.split()}
_LINKS = {"appliance": "/appliances", "host": "/hosts", "resource": "/resources", "image": "/images",
          "storage": "/storages", "network": "/networks", "workflow": "/workflows"}  # fmt: skip
_SPANS = ((86_400 * 365, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Renderer:
    """Templates of the core and, before them, those of a plugin in its own directory."""

    def __init__(self, **known: Any) -> None:
        self._known = known
        self._environments: dict[Path, Environment] = {}

    def render(self, directory: Path, name: str, values: Mapping[str, Any]) -> bytes:
        """The page as UTF-8. Raises what Jinja2 raises."""
        return self._environment(directory).get_template(name).render(values).encode()

    def _environment(self, directory: Path) -> Environment:
        known = self._environments.get(directory)
        if known is None:
            known = self._environments[directory] = make_environment(directory, self._known)
        return known


def make_environment(directory: Path, known: Mapping[str, Any]) -> Environment:
    """An environment that finds templates in ``directory``, then among ours."""
    environment = Environment(
        loader=FileSystemLoader([directory, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(known)
    return environment


def show_when(value: str | None) -> Markup:
    """How long ago (or ahead) an ISO time is; the time itself is its tooltip."""
    if not value:
        return Markup('<span class="none">–</span>')
    return Markup('<time datetime="{}" title="{}">{}</time>').format(value, _plain(value), relative(value, now_us()))


def show_moment(value: str | None) -> Markup:
    """An ISO time, and how long ago that is."""
    if not value:
        return Markup('<span class="none">–</span>')
    return Markup('<time datetime="{}">{}</time> <span class="dim unbroken">{}</span>').format(
        value, _plain(value), relative(value, now_us())
    )


def relative(value: str, now: int) -> str:
    """``5 min ago``, ``in 2 h``, ``now``."""
    seconds = (now - from_iso(value)) / SECOND
    if abs(seconds) < 1:
        return "now"
    return f"{show_span(seconds)} ago" if seconds > 0 else f"in {show_span(-seconds)}"


def show_span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{seconds * 1000:.0f} ms"


def show_took(began: str | None, ended: str | None) -> str:
    """From one ISO time to another; until now when there is no end; empty without a beginning."""
    if not began:
        return ""
    seconds = ((from_iso(ended) if ended else now_us()) - from_iso(began)) / SECOND
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds < 3600 else show_span(seconds)


def _plain(value: str) -> str:
    return datetime.fromtimestamp(from_iso(value) // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def show_mib(value: float | None) -> str:
    """MiB for people."""
    if value is None:
        return "–"
    for unit in ("MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if value == int(value) or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def show_mib_of(used: float, total: float) -> str:
    """``8 of 63.5 GiB``: the unit once where it is the same."""
    few, many = show_mib(used), show_mib(total)
    same = few.partition(" ")[2] == many.partition(" ")[2]
    return f"{few.partition(' ')[0] if same else few} of {many}"


def show_badge(state: str, text: str = "") -> Markup:
    """A state as a coloured word; the word alone says it too."""
    tone = TONES.get(state, "plain")
    return Markup('<span class="badge {}">{}</span>').format(tone, text or state.replace("_", " "))


def show_prose(text: str) -> Markup:
    """A docstring's line: ``code`` in double backticks."""
    parts = [escape(part) if place % 2 == 0 else Markup("<code>{}</code>").format(part)
             for place, part in enumerate(text.split("``"))]  # fmt: skip
    return Markup().join(parts)


def show_subject(subject: str) -> Markup:
    """``appliance:12`` as a link where it has a page."""
    kind, _, ident = subject.partition(":")
    text = f"{kind.replace('_', ' ')} {ident}"
    if kind not in _LINKS or not ident.isdecimal():
        return escape(text)
    return Markup('<a href="{}/{}">{}</a>').format(_LINKS[kind], ident, text)


def show_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def share(used: float, total: float) -> int:
    """Percent, 0 to 100."""
    return max(0, min(100, round(100 * used / total))) if total else 0


FILTERS: dict[str, Callable[..., Any]] = {
    "when": show_when,
    "moment": show_moment,
    "took": show_took,
    "span": show_span,
    "mib": show_mib,
    "mib_of": show_mib_of,
    "badge": show_badge,
    "subject": show_subject,
    "label": show_label,
    "prose": show_prose,
    "pretty": show_json,
    "share": share,
}
