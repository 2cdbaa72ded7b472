"""Each hook is documented with an example, used by the core or a plugin of this repository, and named in a test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from qrmd.hooks.specs import Specs

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name, member in vars(Specs).items() if hasattr(member, "qrmd_spec"))


@cache
def find_documented() -> set[str]:
    guide = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    return set(re.findall(r"^### `(\w+)`\n(?:(?!^### ).)*?```python\n", guide, re.DOTALL | re.MULTILINE))


@cache
def find_implemented() -> set[str]:
    """Names of functions under ``@hookimpl`` in shipped code."""
    homes = [ROOT / "qrmd", *(ROOT / "plugins").glob("*/qrmd_*")]
    return {
        node.name
        for home in homes
        for path in home.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any("hookimpl" in ast.unparse(each) for each in node.decorator_list)
    }


@cache
def find_tested() -> set[str]:
    """Words in tests, other than this one."""
    paths = [path for home in (ROOT / "tests", ROOT / "plugins") for path in home.rglob("test_*.py")]
    texts = (path.read_text(encoding="utf-8") for path in paths if path != Path(__file__))
    return {word for text in texts for word in re.findall(r"\w+", text)}


def test_there_are_hooks() -> None:
    assert "appliance_start" in HOOKS


def test_the_guide_describes_no_other_hooks() -> None:
    assert find_documented() <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented(hook: str) -> None:
    assert hook in find_documented(), f"docs/plugins.md needs a section ### `{hook}` with an example"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_used(hook: str) -> None:
    assert hook in find_implemented(), f"no shipped plugin implements {hook}: use it or drop it"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_tested(hook: str) -> None:
    assert hook in find_tested(), f"no test names {hook}"


@pytest.mark.parametrize("hook", HOOKS)
def test_the_name_of_a_hook_tells_its_kind(hook: str) -> None:
    kinds = (r"register_\w+", r"\w+_check", r"\w+_select", r"on_\w+", r"(resource|appliance|image|ha)_\w+")
    assert any(re.fullmatch(kind, hook) for kind in kinds)
