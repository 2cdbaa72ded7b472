"""XML-RPC at ``/rpc``: one POST, one verb. Denied unless a role grants it; browsers are kept out."""

from __future__ import annotations

import binascii
import logging
import secrets
from base64 import b64decode
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from qrmd.auth import Authenticator
from qrmd.errors import NotAuthenticated, QrmdError
from qrmd.model import Actor
from qrmd.operations.call import dispatch
from qrmd.web.marshal import dump_fault, dump_result
from qrmd.web.request import Request
from qrmd.web.unmarshal import parse_call

if TYPE_CHECKING:
    from qrmd.core import Core

log = logging.getLogger(__name__)

_FROM_BROWSERS = frozenset({b"Origin", b"Cookie", b"Sec-Fetch-Site"})
_XML = b"text/xml"


class XmlRpc:
    """Handler of ``/rpc``; see ``docs/api.md`` for the shapes.

    A refusal that belongs to HTTP (method, content type, browser, size) is an HTTP status; everything else,
    missing credentials included, is a fault in a 200, because that is what XML-RPC clients can show.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.calls = 0
        self.faults = 0

    def __call__(self, request: Request) -> None:
        """Answer a request."""
        refusal = _refusal(request)
        if refusal is not None:
            code, text = refusal
            request.answer(code, b"text/plain; charset=utf-8", text, **({"Allow": "POST"} if code == 405 else {}))
            return
        self.calls += 1
        Deferred.fromCoroutine(self._serve(request))

    async def _serve(self, request: Request) -> None:
        try:
            body = await self._answer(request)
        except QrmdError as error:
            self.faults += 1
            body = dump_fault(error.code, str(error))
        except Exception:
            self.faults += 1
            incident = secrets.token_hex(4)
            log.exception("incident %s while serving /rpc", incident)
            body = dump_fault(500, f"internal error, incident {incident} (the daemon's log has the details)")
        request.answer(200, _XML, body)

    async def _answer(self, request: Request) -> bytes:
        actor = await self._actor(request)
        method, arguments = parse_call(request.content.getvalue())
        if self._core.verbs.get(method).changes:
            self._core.haste.take(actor)
        return dump_result(await dispatch(self._core, actor, method, arguments))

    async def _actor(self, request: Request) -> Actor:
        name, secret = read_credentials(request.header(b"Authorization"))
        auth: Authenticator = self._core.auth
        return auth.recall(name, secret) or await auth.authenticate(name, secret, request.peer)


def read_credentials(header: bytes | None) -> tuple[str, str]:
    """Name and secret of an ``Authorization`` header; a Bearer token has no name.

    Raises:
        NotAuthenticated: there is none that can be read.
    """
    scheme, _, rest = (header or b"").partition(b" ")
    try:
        match scheme.lower():
            case b"bearer":
                return "", rest.strip().decode("ascii")
            case b"basic":
                name, found, secret = b64decode(rest.strip(), validate=True).decode().partition(":")
                if found:
                    return name, secret
    except (binascii.Error, UnicodeError):
        pass
    raise NotAuthenticated(
        "no credentials that can be read", hint="send Authorization: Basic user:password, or Bearer and a token"
    )


def _refusal(request: Request) -> tuple[int, bytes] | None:
    """Status and text when a request is refused before it is looked into."""
    if request.method != b"POST":
        return 405, b"XML-RPC is called by POST\n"
    names = request.names()
    if not _FROM_BROWSERS.isdisjoint(names):
        return 403, b"this is for programs; requests of browsers are refused\n"
    content_type = (request.header(b"Content-Type") or b"").partition(b";")[0].strip().lower()
    if content_type != _XML:
        return 415, b"the content type must be text/xml\n"
    if b"Content-Encoding" in names:
        return 415, b"the body must not be compressed\n"
    return None
