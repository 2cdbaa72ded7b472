"""Each plugin ships a sample of its configuration that names every key with its default."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from qrmd.config import load_plugin_config, read_toml
from qrmd.plugins.distributions import find_installed

PLUGINS = Path(__file__).parents[2] / "plugins"
NAMES = sorted(path.parent.name for path in PLUGINS.glob("*/pyproject.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_is_the_defaults(name: str) -> None:
    config_type = find_installed()[name].load().config_type
    directory = PLUGINS / name / "etc"
    assert (directory / f"{name}.toml").is_file()
    assert load_plugin_config(directory, name, config_type) == config_type()
    named = read_toml(directory / f"{name}.toml")
    assert list(named) == [each.name for each in fields(config_type)]
