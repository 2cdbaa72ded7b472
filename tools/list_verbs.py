"""Rewrites the lists of verbs in ``docs/api.md`` and ``docs/cli.md``: ``python tools/list_verbs.py`` (``--check``)."""

from __future__ import annotations

import sys
import tempfile
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qrmd.daemon import core_verbs
from qrmd.operations.registry import Verb
from qrmd.operations.signature import describe
from qrmd.plugins.distributions import find_installed

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- verbs: written by tools/list_verbs.py -->\n", "<!-- end of verbs -->\n"


def all_verbs() -> list[Verb]:
    """Of the core and of the plugins of this tree, by name."""
    found = core_verbs()
    for name, installed in find_installed().items():
        plugin: Any = installed.load() if (ROOT / "plugins" / name).is_dir() else None
        if hasattr(plugin, "register_verbs"):
            with tempfile.TemporaryDirectory() as directory:
                given = {"config": plugin.config_type(), "installation": "", "state_dir": Path(directory)}
                services = SimpleNamespace(**given, ask=None, read=None, write=None, blocking=None)
                found += [each.owned_by(name) for each in plugin(services).register_verbs()]
    return sorted(found, key=lambda each: each.name)


def for_api(verbs: list[Verb]) -> str:
    """A table: how it is called, who may, what it does."""
    lines = ["| verb | for | what it does |", "|---|---|---|"]
    for each in verbs:
        told = describe(each)
        names = [p["name"] if p["required"] else f"[{p['name']}]" for p in told["parameters"]]
        first = " ".join(told["help"].partition("\n\n")[0].split()).replace("|", "\\|")
        lines.append(f"| `{each.name}({', '.join(names)})` | {_whom(told['roles'])} | {first} |")
    return "\n".join(lines) + "\n"


def _whom(roles: list[str]) -> str:
    return "everybody" if len(roles) == 4 else ", ".join(roles)


def for_cli(verbs: list[Verb]) -> str:
    """A table: noun, and what can be done with it."""
    lines = ["| command | what can be done |", "|---|---|"]
    for noun, group in groupby(verbs, lambda each: each.name.rpartition(".")[0]):
        words = ", ".join(f"`{each.name.rpartition('.')[2].replace('_', '-')}`" for each in group)
        lines.append(f"| `qrm {noun.replace('.', ' ')} …` | {words} |")
    return "\n".join(lines) + "\n"


def rewrite(path: Path, text: str) -> str:
    """The page with its list replaced."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + text + "\n" + END + rest.partition(END)[2]


def main() -> int:
    """Rewrite both pages; with ``--check`` only say which of them lag behind."""
    verbs, lag = all_verbs(), []
    for name, text in (("api.md", for_api(verbs)), ("cli.md", for_cli(verbs))):
        path = ROOT / "docs" / name
        page = rewrite(path, text)
        if page != path.read_text(encoding="utf-8"):
            lag.append(str(path.relative_to(ROOT)))
        if "--check" not in sys.argv:
            path.write_text(page, encoding="utf-8")
    if lag and "--check" in sys.argv:
        print(f"{' and '.join(lag)} lack verbs or say them otherwise: run python tools/list_verbs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
