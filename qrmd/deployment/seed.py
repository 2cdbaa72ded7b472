"""NoCloud seed files (cloud-init's documented format), pure. They are YAML, of which JSON is a part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import crypt_r
import orjson

ROUNDS = 5000


def build_seed(
    *, instance: str, hostname: str, login: str, ssh_keys: Sequence[str], password: str | None, salt: str
) -> dict[str, str]:
    """``meta-data`` and ``user-data`` for a machine.

    Args:
        instance: instance-id; the guest applies a seed once per id.
        password: in clear; only its SHA-512 crypt hash goes into the seed.
        salt: any text that is the same at each attempt, so that a second attempt builds the same seed.
    """
    config: dict[str, Any] = {
        "hostname": hostname,
        "preserve_hostname": False,
        "disable_root": login != "root",
        "ssh_pwauth": password is not None,
        "ssh_authorized_keys": list(ssh_keys),
    }
    if password is not None:
        user = {"name": login, "password": hash_password(password, salt), "type": "hash"}
        config["chpasswd"] = {"expire": False, "users": [user]}
    return {
        "meta-data": _yaml({"instance-id": instance, "local-hostname": hostname}),
        "user-data": "#cloud-config\n" + _yaml(config),
    }


def hash_password(password: str, salt: str) -> str:
    """SHA-512 crypt (``$6$``) with a salt derived from ``salt``."""
    digest = hashlib.sha256(salt.encode()).hexdigest()[:16]
    hashed: str = crypt_r.crypt(password, f"$6$rounds={ROUNDS}${digest}")
    return hashed


def _yaml(data: Mapping[str, Any]) -> str:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
