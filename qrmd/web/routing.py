"""From a path to a page. Pages come and go with their plugins, so they are looked at with each request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.model import Role

_PART = re.compile(r"<(?:(int):)?([a-z_]+)>")
_LOCAL = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")


def find(pages: Iterable[Page], path: str, role: Role) -> tuple[Page, dict[str, Any]] | None:
    """The page at a path and the parts of the path, None when there is none for this role.

    A part ``<int:id>`` is an integer, ``<name>`` is text without a slash. Paths without parts go first.
    """
    found: tuple[Page, dict[str, Any]] | None = None
    for page in pages:
        if role not in page.roles:
            continue
        if page.path == path:
            return page, {}
        if found is None and (match := _pattern(page.path).fullmatch(path)) is not None:
            found = page, {name: _value(page.path, name, text) for name, text in match.groupdict().items()}
    return found


@cache
def _pattern(path: str) -> re.Pattern[str]:
    text, end = "", 0
    for part in _PART.finditer(path):
        shape = "[0-9]{1,15}" if part[1] else "[^/]{1,200}"
        text += re.escape(path[end : part.start()]) + f"(?P<{part[2]}>{shape})"
        end = part.end()
    return re.compile(text + re.escape(path[end:]))


def _value(path: str, name: str, text: str) -> int | str:
    return int(text) if f"<int:{name}>" in path else text


def is_local(path: str) -> bool:
    """Whether a path stays on this site wherever a browser is sent to it."""
    return len(path) < 2000 and _LOCAL.fullmatch(path) is not None


def menu(pages: Iterable[Page], role: Role, path: str) -> list[dict[str, Any]]:
    """Sections in order of first appearance: ``{"title", "pages": [{"title", "path", "current"}]}``."""
    sections: dict[str, list[Mapping[str, Any]]] = {}
    for page in pages:
        if page.section and role in page.roles and "<" not in page.path:
            current = path == page.path or (page.path != "/" and path.startswith(f"{page.path}/"))
            entry = {"title": page.title, "path": page.path, "current": current}
            sections.setdefault(page.section, []).append(entry)
    return [{"title": title, "pages": entries} for title, entries in sections.items()]
