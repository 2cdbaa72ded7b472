"""Configuration: TOML files to frozen dataclasses. An unknown key is an error that names file and key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from qrmd.errors import ConfigInvalid, InvalidInput
from qrmd.operations.schema import Check, Range, convert

T = TypeVar("T")

DEFAULT_PATH = Path("/etc/qrmd/qrmd.toml")
LOG_LEVELS = ("debug", "info", "warning", "error")
INHERIT = "inherit"


def check_log_level(value: str) -> str:
    """One of ``LOG_LEVELS``."""
    if value not in LOG_LEVELS:
        raise InvalidInput(f"{value!r:.40} is no level", hint="one of " + ", ".join(LOG_LEVELS))
    return value


def check_listen(value: str) -> str:
    """``host:port``, ``[address]:port``, ``inherit``, or empty (do not listen)."""
    if value not in {"", INHERIT}:
        split_address(value)
    return value


def check_directory(value: str) -> str:
    """An absolute path."""
    if not value.startswith("/"):
        raise InvalidInput(f"{value!r:.60} is no absolute path")
    return value


def split_address(value: str) -> tuple[str, int]:
    """``("::", 7443)`` of ``[::]:7443``.

    Raises:
        InvalidInput: it is neither host:port nor [address]:port.
    """
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = bare is not host
    plain = bare and not set("[] \t") & set(bare) and (":" in bare) == bracketed
    if not colon or not plain or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{value!r:.60} is no address", hint=f"host:port, [address]:port or {INHERIT}")
    return bare, int(port)


Listen = Annotated[str, Check(check_listen)]
Count = Annotated[int, Range(1, 2**30)]
Seconds = Annotated[float, Range(0.1, 86_400)]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the daemon keeps its state, and how much it says."""

    state_dir: Path = Path("/var/lib/qrmd")
    log_level: Annotated[str, Check(check_log_level)] = "info"


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Addresses; ``inherit`` takes the socket of that name from systemd, empty does not listen."""

    admin: Listen = "0.0.0.0:7443"
    portal: Listen = "0.0.0.0:7444"
    boot: Listen = "0.0.0.0:7480"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Certificate and key; empty: made at the first start for ``names`` and this host's own names."""

    certificate: str = ""
    key: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupConfig:
    """Where ``qrm backup`` puts its files; empty: ``backups`` in the state directory."""

    dir: str = ""


@dataclass(frozen=True, slots=True)
class ImagesConfig:
    """``import_dirs``: files in these directories may be imported as images and used as kernels, no others."""

    import_dirs: tuple[Annotated[str, Check(check_directory)], ...] = ("/var/lib/qrmd/import", "/srv/images")


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Bounds.

    Attributes:
        workflows: that run at the same time.
        body_bytes: of a request to the interface.
        hold_seconds: how long a plugin may hold the reactor before the daemon ends itself.
    """

    workflows: Count = 64
    body_bytes: Count = 1_048_576
    hold_seconds: Seconds = 10.0


@dataclass(frozen=True, slots=True)
class Config:
    """The daemon's configuration file. ``path``: where it was read; plugin files lie in ``plugins.d`` beside it."""

    server: ServerConfig = field(default_factory=ServerConfig)
    listen: ListenConfig = field(default_factory=ListenConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    backup: BackupConfig = field(default_factory=BackupConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    @property
    def backup_dir(self) -> Path:
        """Where backups go."""
        return Path(self.backup.dir) if self.backup.dir else self.server.state_dir / "backups"


def load_config(path: Path = DEFAULT_PATH) -> Config:
    """The configuration in ``path``; a missing file means the defaults.

    Raises:
        ConfigInvalid: names file and key.
    """
    config = build(Config, read_toml(path), path)
    if bool(config.tls.certificate) != bool(config.tls.key):
        raise ConfigInvalid("tls.certificate and tls.key belong together", subject=str(path), hint="set both or none")
    return config


def plugin_directory(path: Path) -> Path:
    """Where the plugins' files lie, beside the daemon's."""
    return path.parent / "plugins.d"


def load_plugin_config(directory: Path, name: str, config_type: type[T]) -> T:
    """A plugin's configuration from ``directory/<name>.toml``; a missing file means the defaults.

    Raises:
        ConfigInvalid: names file and key.
    """
    path = directory / f"{name}.toml"
    return build(config_type, read_toml(path), path)


def check(path: Path, plugin_types: Mapping[str, type] | None = None) -> list[str]:
    """All problems of the files of a configuration, one sentence each; empty: none.

    Args:
        plugin_types: ``config_type`` of each installed plugin by name; None: their files are not looked at.
    """
    problems: list[str] = []
    if not path.is_file():
        problems.append(f"{path}: there is no such file")
    _collect(problems, load_config, path)
    if plugin_types is None:
        return problems
    directory = plugin_directory(path)
    for file in sorted(directory.glob("*.toml")):
        config_type = plugin_types.get(file.stem)
        if config_type is None:
            problems.append(f"{file}: no plugin {file.stem} is installed{_nearest(file.stem, plugin_types)}")
        else:
            _collect(problems, load_plugin_config, directory, file.stem, config_type)
    return problems


def _collect(problems: list[str], function: Any, *args: Any) -> None:
    try:
        function(*args)
    except ConfigInvalid as error:
        problems.append(str(error))


def read_toml(path: Path) -> dict[str, Any]:
    """The file as a table; empty when it is missing.

    Raises:
        ConfigInvalid: it can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"can't be read: {error}", subject=str(path)) from error


def build(cls: type[T], table: Mapping[str, Any], path: Path, section: str = "") -> T:
    """An instance of dataclass ``cls`` from a TOML table; nested dataclasses are sections.

    Raises:
        ConfigInvalid: names file and key.
    """
    hints = get_type_hints(cls, include_extras=True)
    members = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in members:
            raise ConfigInvalid(
                f"unknown key {section}{key}{_nearest(key, members)}",
                subject=str(path),
                hint="known: " + ", ".join(members),
            )
    for name, each in members.items():
        if name not in table and each.default is MISSING and each.default_factory is MISSING:
            raise ConfigInvalid(f"key {section}{name} is missing", subject=str(path))
    return cls(**{key: _value(hints[key], value, path, section + key) for key, value in table.items()})


def _value(hint: Any, value: Any, path: Path, key: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigInvalid(f"{key} must be a section [{key}]", subject=str(path))
        return build(hint, value, path, f"{key}.")  # type: ignore[arg-type]
    try:
        return Path(convert(str, value, key)) if hint is Path else convert(hint, value, key)
    except InvalidInput as error:
        raise ConfigInvalid(error.message, subject=str(path), hint=error.hint) from None


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
