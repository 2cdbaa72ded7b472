"""Forms come from our own pages: the browser's word for it, and a token per form bound to the session."""

from __future__ import annotations

import hmac

from qrmd.errors import Forbidden
from qrmd.web.request import Request


def make_token(key: bytes, path: str, action: str) -> str:
    """The token of one form: of this session, on this page, for this action."""
    return hmac.digest(key, f"form\0{path}\0{action}".encode(), "sha256").hex()


def check_token(key: bytes, path: str, action: str, given: str) -> None:
    """Refuse a form without its token.

    Raises:
        Forbidden: missing or of another form, page or session.
    """
    if not hmac.compare_digest(make_token(key, path, action).encode(), given.encode()):
        raise Forbidden("this form is not valid any more", hint="open the page again and send it once more")


def check_origin(request: Request) -> None:
    """Refuse a form that another site sent; a browser always tells, another client must.

    Raises:
        Forbidden: sent by another origin (another port is another one), or not told.
    """
    origin, site = request.header(b"Origin"), request.header(b"Sec-Fetch-Site")
    host = request.header(b"Host") or b""
    told = origin is not None or site is not None
    if not told or origin not in {None, b"https://" + host} or site not in {None, b"same-origin"}:
        raise Forbidden("this form was not sent by a page of this site", hint="open the page here and send it again")
