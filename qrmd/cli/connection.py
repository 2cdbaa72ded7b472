"""Calls of the server's verbs over XML-RPC."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import xmlrpc.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from qrmd import errors
from qrmd.cli.profile import Profile
from qrmd.errors import QrmdError

UNREACHABLE = 69


class CallFailed(Exception):
    """The server refused a call, or could not be asked. ``exit_code`` is what the command ends with."""

    def __init__(self, message: str, code: int, exit_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code


class Connection:
    """A keep-alive connection to one server.

    Raises (every call):
        CallFailed: with the server's own words.
    """

    def __init__(self, profile: Profile, *, timeout: float = 120.0) -> None:
        self.profile = profile
        url = endpoint(profile.url)
        self._proxy = xmlrpc.client.ServerProxy(url, transport=_transport(profile, timeout), allow_none=True)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a verb."""
        try:
            return getattr(self._proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise CallFailed(fault.faultString, fault.faultCode, exit_code_of(fault.faultCode)) from None
        except xmlrpc.client.ProtocolError as error:
            message = f"the server answered {error.errcode} {error.errmsg}"
            raise CallFailed(message, error.errcode, exit_code_of(error.errcode)) from None
        except ssl.SSLCertVerificationError as error:
            raise CallFailed(
                f"the certificate of {self.profile.url} is not the one we know: {error.verify_message}"
                " (compare its fingerprint with what the daemon printed, then: qrm login URL)", 0, UNREACHABLE,
            ) from None  # fmt: skip
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(f"can't reach {_bare(self.profile.url)}: {error}", 0, UNREACHABLE) from None


def endpoint(url: str) -> str:
    """The URL with ``/rpc``."""
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise errors.ConfigInvalid(f"{_bare(url)} is not a server's URL", hint="https://HOST:7443")
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise errors.ConfigInvalid("credentials are sent over TLS only", hint="use https://")
    return url if parts.path.rstrip("/").endswith("/rpc") else f"{parts.scheme}://{parts.netloc}/rpc"


def context_for(ca_file: str) -> ssl.SSLContext:
    """TLS as the profile wants it: the pinned file only, or the system's authorities."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise errors.ConfigInvalid(f"CA file {ca_file}: {error}") from None


def exit_code_of(code: int) -> int:
    """Exit status for a fault code or HTTP status."""
    return _EXIT_CODES.get(code, 1)


def _transport(profile: Profile, timeout: float) -> xmlrpc.client.Transport:
    headers = [("Authorization", f"Bearer {profile.token}")] if profile.token else []
    if urlsplit(profile.url).scheme == "http":
        return xmlrpc.client.Transport(headers=headers)
    return _Transport(context_for(profile.ca_file), headers, timeout)


class _Transport(xmlrpc.client.SafeTransport):
    """With a time-out, and without connections that the server has closed while nobody asked."""

    def __init__(self, context: ssl.SSLContext, headers: list[tuple[str, str]], timeout: float) -> None:
        super().__init__(context=context, headers=headers)
        self._timeout = timeout

    def make_connection(self, host: Any) -> Any:
        """The connection, kept; a new one when there is something to read that nobody asked for: its end."""
        kept = self._connection[1]
        if kept is not None and kept.sock is not None and _has_something(kept.sock):
            self.close()
        connection = super().make_connection(host)
        connection.timeout = self._timeout
        return connection


def _has_something(sock: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(0))


def _bare(url: str) -> str:
    """Without credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _kinds(kind: type[QrmdError]) -> Iterator[type[QrmdError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)


_EXIT_CODES: dict[int, int] = {}
for _kind in _kinds(QrmdError):
    _EXIT_CODES.setdefault(_kind.code, _kind.exit_code)
