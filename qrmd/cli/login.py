"""``qrm login``: meet a server, pin its certificate, keep a token."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import ssl
from urllib.parse import urlsplit

import click

from qrmd.cli import profile as profiles
from qrmd.cli.connection import UNREACHABLE, CallFailed, Connection, context_for, endpoint
from qrmd.cli.profile import Profile
from qrmd.cli.values import secret


@click.command("login")
@click.argument("url")
@click.option("--user", prompt=True, default="admin", show_default=True, help="Name to log in with.")
@click.option("--fingerprint", default="", help="SHA-256 that the certificate must have; without it you are asked.")
@click.option("--ca-file", default="", help="Check the certificate against this file instead of pinning it.")
@click.pass_context
def login(ctx: click.Context, url: str, user: str, fingerprint: str, ca_file: str) -> None:
    """Meet the server at URL: compare its fingerprint, log in once, keep an API token (mode 0600).

    The password is asked for, or read from standard input; it is not kept.
    """
    name = ctx.find_root().params.get("profile") or profiles.DEFAULT
    endpoint(url)
    pinned = ca_file or _pin(url, fingerprint, name)
    password = secret("password")
    token_name = re.sub(r"[^a-z0-9]+", "-", f"qrm-{socket.gethostname()[:40]}-{secrets.token_hex(4)}".lower())
    once = _with_credentials(url, user, password)
    made = Connection(Profile(once, "", pinned)).call("token.create", token_name)
    path = profiles.keep(name, Profile(url, made["token"], pinned))
    click.echo(f"logged in as {user}; token {made['name']} is kept in {path}")


def fetch_certificate(url: str) -> str:
    """The PEM certificate that a server shows, unchecked."""
    parts = urlsplit(url)
    try:
        return ssl.get_server_certificate((parts.hostname or "", parts.port or 443), timeout=10)
    except OSError as error:
        raise CallFailed(f"can't reach {url}: {error}", 0, UNREACHABLE) from None


def fingerprint_of(pem: str) -> str:
    """SHA-256 as ``AB:CD:…``."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest().hex(":").upper()


def _pin(url: str, wanted: str, name: str) -> str:
    """Path of the pinned certificate; empty when the system's authorities vouch for it."""
    if urlsplit(url).scheme == "http" or (not wanted and _is_vouched_for(url)):
        return ""
    pem = fetch_certificate(url)
    seen = fingerprint_of(pem)
    if wanted:
        if seen != wanted.upper():
            raise CallFailed(f"the certificate's fingerprint is {seen}, not {wanted}", 0, UNREACHABLE)
    else:
        click.echo(
            f"SHA-256 fingerprint of the certificate:\n  {seen}\nThe daemon printed it at its first start.", err=True
        )
        click.confirm("Is it the same?", abort=True, err=True)
    path = profiles.config_directory() / f"{name}.pem"
    profiles.write_private(path, pem)
    return str(path)


def _is_vouched_for(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=10) as plain,
            context_for("").wrap_socket(plain, server_hostname=parts.hostname),
        ):
            return True
    except (OSError, ssl.SSLError):
        return False


def _with_credentials(url: str, user: str, password: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - here only

    parts = urlsplit(url)
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}").geturl()
