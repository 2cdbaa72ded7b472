"""Headers of every answer of a site: nothing inline, nothing framed, nothing kept."""

from __future__ import annotations

from twisted.web.http import Request

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"Server": b"qrmd",
    b"Content-Security-Policy": POLICY.encode(),
    b"Strict-Transport-Security": b"max-age=31536000",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    # not no-referrer: with it browsers send "Origin: null" with a form, and the origin is what we check
    b"Referrer-Policy": b"same-origin",
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Permissions-Policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"Cache-Control": b"no-store",
    b"Vary": b"Cookie",
}


def put(request: Request) -> None:
    """Set them; what serves something public loosens ``Cache-Control`` itself."""
    for name, value in HEADERS.items():
        request.responseHeaders.setRawHeaders(name, [value])
