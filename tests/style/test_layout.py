"""The rules of DESIGN §3 and §8 that a program can check."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir())
SOURCES = sorted([*ROOT.glob("qrmd/**/*.py"), *ROOT.glob("plugins/*/qrmd_*/**/*.py")])
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
FORBIDDEN_NAMES = {"manager", "helper", "helpers", "utils", "util", "common", "base", "misc"}
LIBVIRT_PLUGINS = {"kvm", "xen"}
"""What these two share lives in ``qrmd.libvirt`` (extra ``qrmd[libvirt]``)."""


def relative(path: Path) -> str:
    """Its name in messages."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_size(path: Path) -> None:
    """No file and no function outgrows its reader."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


def test_module_names() -> None:
    """Modules are named for what they hold."""
    assert not [relative(path) for path in SOURCES if path.stem in FORBIDDEN_NAMES]


def imported(path: Path) -> set[str]:
    """Modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "qrmd":
            found.update(f"qrmd.{each.name}" for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_import_the_public_api_only(plugin: str) -> None:
    """A plugin that needs the core's insides shows that the API is wrong."""
    allowed = {"qrmd.api"} | ({"qrmd.libvirt"} if plugin in LIBVIRT_PLUGINS else set())
    for path in (ROOT / "plugins" / plugin).glob("qrmd_*/**/*.py"):
        core = {name for name in imported(path) if name == "qrmd" or name.startswith("qrmd.")}
        assert core <= allowed, relative(path)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_have_their_rooms(plugin: str) -> None:
    """Every plugin has the same rooms."""
    home = ROOT / "plugins" / plugin
    package = home / f"qrmd_{plugin.replace('-', '_')}"
    for needed in (home / "README.md", home / "tests", home / "etc" / f"{plugin}.toml", package / "plugin.py"):
        assert needed.exists(), relative(needed)


def test_the_core_imports_no_plugin() -> None:
    """The core knows plugins by their entry points."""
    packages = {f"qrmd_{name.replace('-', '_')}" for name in PLUGINS}
    for path in ROOT.glob("qrmd/**/*.py"):
        assert not {name.partition(".")[0] for name in imported(path)} & packages, relative(path)


def test_hooks_are_called_in_one_place() -> None:
    """Pluggy has a home."""
    homes = {"qrmd/hooks/specs.py", "qrmd/hooks/calls.py"}
    users = {relative(path) for path in SOURCES if "pluggy" in imported(path)}
    assert users <= homes


def test_programs_are_spawned_in_one_place() -> None:
    """Subprocess has a home."""
    assert {relative(path) for path in SOURCES if "subprocess" in imported(path)} <= {"qrmd/process.py"}


SQL = re.compile(
    r"\bSELECT\b|\bINSERT (OR \w+ )?INTO\b|\bUPDATE \w+ SET\b|\bDELETE FROM\b|\b(CREATE|DROP|ALTER) TABLE\b"
    r"|\bstate (<>|=|IN) ?[('?]"
)
QUERIES = {"row", "rows", "value", "execute", "executemany", "execute_many"}


def keeps_rows(path: Path) -> bool:
    """Whether SQL is at home in a file: the store, a plugin's store and migrations, kits that look from outside."""
    name = relative(path)
    plugin = re.fullmatch(r"plugins/[^/]+/qrmd_[^/]+/(store(/.+)?\.py|store/.+|migrations\.py)", name)
    return bool(plugin) or name.startswith(("qrmd/store/", "qrmd/testing/"))


def find_sql(path: Path) -> list[str]:
    """Texts that are SQL, and calls that run some."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documented:
            found += [f"{node.lineno}: {node.value[:60]}"] if SQL.search(node.value) else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in QUERIES:
            owner = ast.unparse(node.func.value)
            found += [f"{node.lineno}: {owner}.{node.func.attr}"] if re.search(r"\bdb\b|connection", owner) else []
    return found


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("path", [path for path in SOURCES if not keeps_rows(path)], ids=relative)
def test_sql_lives_in_the_store(path: Path) -> None:
    """SQL has a home."""
    assert not find_sql(path)


def test_sql_is_found(tmp_path: Path) -> None:
    """The rule above can fail."""
    bad = tmp_path / "bad.py"
    bad.write_text('def f(db, n):\n    """SELECT nothing."""\n    return db.value(f"SELECT {n} FROM hosts")\n')
    assert len(find_sql(bad)) == 2
