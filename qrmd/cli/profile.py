"""Where the server is and how we show who we are: profiles in ``~/.config/qrmd/config.toml``, or the environment."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmd.errors import ConfigInvalid

DEFAULT = "default"
_KEYS = {"url", "token", "ca_file"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A server as this user knows it.

    Attributes:
        url: ``https://host:7443``; may hold ``user:password@``.
        token: API token (empty: the URL's credentials).
        ca_file: PEM that the server's certificate is checked against (empty: the system's authorities).
    """

    url: str
    token: str = ""
    ca_file: str = ""


def config_directory() -> Path:
    """``$XDG_CONFIG_HOME/qrmd`` or ``~/.config/qrmd``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "qrmd"


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/qrmd`` or ``~/.cache/qrmd``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qrmd"


def load(name: str = "") -> Profile:
    """The profile to use; ``QRM_URL``, ``QRM_TOKEN`` and ``QRM_CA_FILE`` win over the file.

    Raises:
        ConfigInvalid: there is none, or the file can't be used.
    """
    kept = profiles()
    wanted = name or os.environ.get("QRM_PROFILE", "") or DEFAULT
    found = kept.get(wanted, {})
    if name and not found:
        raise ConfigInvalid(f"there is no profile {name}", hint=f"qrm --profile {name} login URL makes it")
    url = os.environ.get("QRM_URL") or found.get("url", "")
    if not url:
        raise ConfigInvalid("no server is known", hint="qrm login https://HOST:7443, or set QRM_URL and QRM_TOKEN")
    other = bool(os.environ.get("QRM_URL")) and url != found.get("url")  # never send a token to another server
    return Profile(
        url,
        os.environ.get("QRM_TOKEN") or ("" if other else found.get("token", "")),
        os.environ.get("QRM_CA_FILE") or ("" if other else found.get("ca_file", "")),
    )


def profiles() -> dict[str, dict[str, str]]:
    """All profiles of the file by name (no file: none).

    Raises:
        ConfigInvalid: the file is not what we write.
    """
    path = config_directory() / "config.toml"
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"{path}: {error}") from None
    for name, each in content.items():
        unknown = set(each) - _KEYS if isinstance(each, dict) else {name}
        if unknown:
            raise ConfigInvalid(f"{path}: [{name}] has unknown keys: {', '.join(sorted(unknown))}")
    return content


def keep(name: str, profile: Profile) -> Path:
    """Write a profile; the file is 0600 because it holds the token."""
    kept = profiles() | {name or DEFAULT: {"url": profile.url, "token": profile.token, "ca_file": profile.ca_file}}
    lines = []
    for each, values in kept.items():
        lines.append(f"[{json.dumps(each)}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value]
    path = config_directory() / "config.toml"
    write_private(path, "\n".join(lines) + "\n")
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.rename(path)
