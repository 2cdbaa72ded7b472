"""``/healthz``, ``/readyz`` and ``/metrics``.

The first two are open: they say nothing but "alive" and "ready" with its reasons. ``/metrics`` is for this host
itself and for whoever sends a token (or password) of a role that may look; a proxy on this host counts as far away.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from qrmd.auth import Authenticator
from qrmd.errors import NotAuthenticated, QrmdError
from qrmd.model import Role
from qrmd.store.counts import count_rows
from qrmd.web import metrics
from qrmd.web.request import Handler, Request
from qrmd.web.xmlrpc import XmlRpc, read_credentials

if TYPE_CHECKING:
    from qrmd.core import Core

log = logging.getLogger(__name__)

_JSON = b"application/json"
_TEXT = b"text/plain; charset=utf-8"
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
_PROXIED = (b"Forwarded", b"X-Forwarded-For", b"X-Real-Ip", b"Via")


def handlers(core: Core, rpc: XmlRpc) -> dict[bytes, Handler]:
    """Exact path → handler, for ``Site(direct=…)``."""
    return {
        b"/rpc": rpc,
        b"/healthz": _only_get(_answer_health),
        b"/readyz": _only_get(lambda request: _answer_ready(core, request)),
        b"/metrics": _only_get(lambda request: _answer_metrics(core, rpc, request)),
    }


def liveness() -> dict[bytes, Handler]:
    """``/healthz`` alone, for sites that say nothing else to strangers."""
    return {b"/healthz": _only_get(_answer_health)}


def _only_get(handler: Handler) -> Handler:
    def handle(request: Request) -> None:
        if request.method in {b"GET", b"HEAD"}:
            handler(request)
        else:
            request.answer(405, _TEXT, b"only GET\n", Allow="GET, HEAD")

    return handle


def _answer_health(request: Request) -> None:
    request.answer(200, _JSON, b'{"ok": true}\n')


def _answer_ready(core: Core, request: Request) -> None:
    problems = list(core.problems())
    body = json.dumps({"ready": not problems, "problems": problems}) + "\n"
    request.answer(503 if problems else 200, _JSON, body.encode())


def _answer_metrics(core: Core, rpc: XmlRpc, request: Request) -> None:
    Deferred.fromCoroutine(_serve_metrics(core, rpc, request))


async def _serve_metrics(core: Core, rpc: XmlRpc, request: Request) -> None:
    try:
        if not _is_local(request):
            await _check_credentials(core.auth, request)
        counts = await core.store.read(count_rows)
        text = metrics.render(metrics.collect(core.store, counts, rpc, request.channel.site))
        request.answer(200, b"text/plain; version=0.0.4; charset=utf-8", text.encode())
    except QrmdError as error:
        request.answer(error.code, _TEXT, f"{error}\n".encode())
    except Exception:
        log.exception("/metrics failed")
        request.answer(500, _TEXT, b"internal error; the daemon's log has the details\n")


def _is_local(request: Request) -> bool:
    return request.peer in _LOOPBACK and not any(request.header(each) for each in _PROXIED)


async def _check_credentials(auth: Authenticator, request: Request) -> None:
    name, secret = read_credentials(request.header(b"Authorization"))
    actor = auth.recall(name, secret) or await auth.authenticate(name, secret, request.peer)
    if actor.role is Role.CLOUD:
        raise NotAuthenticated("metrics are for users of the administration")
