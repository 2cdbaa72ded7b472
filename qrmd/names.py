"""Checks of names that people give. What passes can be used in files, XML, DNS and DHCP without surprise."""

from __future__ import annotations

import ipaddress
import re

from qrmd.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MEANINGFUL = frozenset({"localhost", "broadcasthost", "wpad", "isatap", "ignore", "infinite"})
_NUMBER = re.compile(r"[0-9]+[smhdw]?|0x[0-9a-f]*")  # an address to a resolver, a lease time to a DHCP server
_BRIDGE = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,14}")
_KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "sk-ssh-ed25519@openssh.com")
_SSH_KEY = re.compile(r"(?P<type>[a-z0-9@.-]+) (?P<body>[A-Za-z0-9+/]{32,8000}={0,3})( [\x21-\x7e][\x20-\x7e]{0,200})?")
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,188}[A-Za-z0-9])?")


def check_name(value: str, what: str = "name") -> str:
    """Lower-case letters, digits, ``-`` and ``.``, 1 to 63 characters, no ``..``, not digits only.

    Raises:
        InvalidInput: otherwise.
    """
    refuse_digits(value, what)
    if not _NAME.fullmatch(value) or ".." in value:
        raise InvalidInput(
            f"{what} {shown(value)} is not allowed",
            hint="use 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
        )
    return value


def refuse_digits(value: str, what: str = "name") -> str:
    """What stands beside ids must not look like one: objects are named by id or by name.

    Raises:
        InvalidInput: it is digits only.
    """
    if value.isdecimal():
        raise InvalidInput(f"{what} {shown(value)} would be taken for an id", hint="add a letter to it")
    return value


def check_hostname(value: str) -> str:
    """One RFC 1123 label in lower case that means nothing else to DHCP servers, resolvers and browsers."""
    if not _LABEL.fullmatch(value):
        raise InvalidInput(
            f"host name {shown(value)} is not allowed",
            hint="use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        )
    if value in _MEANINGFUL or _NUMBER.fullmatch(value):
        raise InvalidInput(
            f"host name {shown(value)} is not allowed: it has a meaning of its own", hint="add a word to it"
        )
    return value


def check_domain(value: str) -> str:
    """Dot-separated RFC 1123 labels, at most 253 characters."""
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise InvalidInput(f"domain {shown(value)} is not allowed", hint="use labels of a-z, 0-9 and '-'")
    return value


def check_bridge(value: str) -> str:
    """A Linux interface name."""
    if not _BRIDGE.fullmatch(value):
        raise InvalidInput(f"bridge {shown(value)} is not an interface name", hint="1 to 15 of A-Z a-z 0-9 _ . -")
    return value


def check_ssh_key(value: str) -> str:
    """One public key in OpenSSH's one-line format, stripped."""
    value = value.strip()
    match = _SSH_KEY.fullmatch(value)
    if match is None or match["type"] not in _KEY_TYPES:
        raise InvalidInput("that is not an OpenSSH public key", hint=f"one line beginning with {_KEY_TYPES[0]} AAAA…")
    return value


def check_mail(value: str) -> str:
    """A plain mail address, nothing that could end a header or name a second recipient."""
    if not _MAIL.fullmatch(value) or ".." in value:
        raise InvalidInput(f"{shown(value)} is not a mail address", hint="name@example.org")
    return value


def check_address(value: str) -> str:
    """An IPv4 or IPv6 address, normalised."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise InvalidInput(f"{shown(value)} is not an IP address") from None


def check_confirmed(named: str, typed: str) -> None:
    """Before something is lost: whoever asks has typed the object's name.

    Raises:
        InvalidInput: another name, or none; its ``field`` is ``confirm``.
    """
    if not named or typed.strip() != named:
        raise InvalidInput(
            f"type {named or 'its name'} to confirm that this one is meant", hint="nothing is lost until then",
            field="confirm",
        )  # fmt: skip


def shown(value: str, limit: int = 60) -> str:
    """A quoted, escaped, shortened form of a value that somebody else chose."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}…' ({len(value)} characters)"
