"""Configuration files: defaults, sections, and errors that name file and key."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import pytest

from qrmd.config import (
    Config,
    check,
    load_config,
    load_plugin_config,
    read_toml,
    split_address,
)
from qrmd.errors import ConfigInvalid, InvalidInput
from qrmd.operations.schema import Range

SAMPLE = Path(__file__).parents[2] / "etc" / "qrmd.toml"


@dataclass(frozen=True)
class PluginSection:
    """A section of a plugin's file."""

    path: Path = Path("/srv")


@dataclass(frozen=True)
class PluginConfig:
    """A plugin's file."""

    seconds: Annotated[int, Range(1, 60)] = 5
    names: tuple[str, ...] = ()
    place: PluginSection = field(default_factory=PluginSection)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_sample_is_the_defaults() -> None:
    assert load_config(SAMPLE) == Config()


def test_the_sample_names_every_key() -> None:
    sample = read_toml(SAMPLE)
    for section in fields(Config):
        assert list(sample[section.name]) == [each.name for each in fields(getattr(Config(), section.name))]


def test_a_missing_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "none.toml") == Config()


def test_values_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "qrmd.toml", '[server]\nstate_dir = "/srv/q"\n[listen]\nadmin = "[::]:1"\nportal = ""\n')
    config = load_config(path)
    assert config.server.state_dir == Path("/srv/q")
    assert config.backup_dir == Path("/srv/q/backups")
    assert (config.listen.admin, config.listen.portal, config.listen.boot) == ("[::]:1", "", "0.0.0.0:7480")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nstate_dri = '/x'\n", ("server.state_dri", "did you mean state_dir?")),
        ("[sever]\n", ("sever", "did you mean server?")),
        ("server = 3\n", ("server", "[server]")),
        ("[server]\nlog_level = 'loud'\n", ("server.log_level", "debug, info")),
        ("[server]\nstate_dir = 3\n", ("server.state_dir", "text")),
        ("[listen]\nadmin = 'nowhere'\n", ("listen.admin", "host:port")),
        ("[listen]\nadmin = '::1:7443'\n", ("listen.admin",)),
        ("[limits]\nworkflows = 0\n", ("limits.workflows",)),
        ("[limits]\nhold_seconds = true\n", ("limits.hold_seconds", "number")),
        ("[tls]\ncertificate = '/c.pem'\n", ("tls.key",)),
        ("not toml", ("can't be read",)),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, text: str, named: tuple[str, ...]) -> None:
    path = write(tmp_path / "qrmd.toml", text)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path)
    for part in (str(path), *named):
        assert part in str(caught.value)


def test_a_plugin_file_becomes_its_dataclass(tmp_path: Path) -> None:
    write(tmp_path / "dns.toml", 'seconds = 9\nnames = ["a", "b"]\n[place]\npath = "/srv/x"\n')
    loaded = load_plugin_config(tmp_path, "dns", PluginConfig)
    assert loaded == PluginConfig(9, ("a", "b"), PluginSection(Path("/srv/x")))


def test_check_lists_all_problems(tmp_path: Path) -> None:
    path = write(tmp_path / "qrmd.toml", "[server]\nnope = 1\n")
    write(tmp_path / "plugins.d" / "dns.toml", "seconds = 99\n")
    write(tmp_path / "plugins.d" / "dsn.toml", "")
    problems = check(path, {"dns": PluginConfig})
    assert len(problems) == 3
    assert "server.nope" in problems[0]
    assert "dns.toml" in problems[1]
    assert "seconds" in problems[1]
    assert "did you mean dns?" in problems[2]


def test_check_is_silent_when_all_is_well(tmp_path: Path) -> None:
    path = write(tmp_path / "qrmd.toml", SAMPLE.read_text(encoding="utf-8"))
    write(tmp_path / "plugins.d" / "dns.toml", "seconds = 9\n")
    assert check(path, {"dns": PluginConfig}) == []


def test_addresses() -> None:
    assert split_address("192.0.2.1:7443") == ("192.0.2.1", 7443)
    assert split_address("[::]:7443") == ("::", 7443)
    for wrong in ("7443", ":7443", "[::]", "host:", "host:99999", "[host:1"):
        with pytest.raises(InvalidInput):
            split_address(wrong)
