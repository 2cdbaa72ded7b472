"""One site of the daemon: who asks, which page, what comes back. ``admin`` and ``portal`` are two of them."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from klein import Klein
from klein.resource import KleinResource
from twisted.web.resource import IResource

from qrmd.auth import tokens
from qrmd.errors import NotAuthenticated, NotFound, QrmdError
from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.web import csrf, headers, routing
from qrmd.web.assets import Assets
from qrmd.web.fields import read_form, read_query
from qrmd.web.live import ROLES, Feed
from qrmd.web.pages import core_pages
from qrmd.web.render import TEMPLATES, Renderer
from qrmd.web.request import Request
from qrmd.web.sessions import Session, Sessions, is_unchanged
from qrmd.web.view import View

if TYPE_CHECKING:
    from qrmd.core import Core

log = logging.getLogger(__name__)

REALMS = {"admin": "user", "portal": "cloud"}
"""Whose accounts log in where."""
_HTML = b"text/html; charset=utf-8"
_FOREVER = b"public, max-age=31536000, immutable"


class _Root(KleinResource):
    """Klein's resource, with our headers on whatever it answers."""

    def render(self, request: Any) -> Any:
        headers.put(request)
        return super().render(request)


class WebSite:
    """The pages of one site.

    Args:
        name: ``admin`` or ``portal``; only pages of that site are on it.
        reactor: turns time.
    """

    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False

    def __init__(self, core: Core, name: str, reactor: Any, *, sessions: Sessions | None = None) -> None:
        self.core = core
        self.name = name
        self.reactor = reactor
        self.sessions = sessions or Sessions(name, time.monotonic)
        self.assets = Assets()
        self.feed = Feed(core, reactor, self._holds)
        self.renderer = Renderer(asset=self.assets.url, site=name)

    def tree(self) -> IResource:
        """The root for ``qrmd.web.request.Site``."""
        root: Any = _Root(self.app)
        return cast("IResource", root)

    def stop(self) -> None:
        """End the event streams."""
        self.feed.stop()

    def pages(self) -> list[Page]:
        """The pages there are now."""
        own, brought = core_pages(), self.core.registries.pages
        everything = (*own, *brought) if self.name == "admin" else (*brought, *own)
        return [each for each in everything if each.site == self.name]

    # ------------------------------------------------------------ fixed routes

    @app.route("/static/<name>")
    def static(self, request: Request, name: str) -> bytes:
        """A file that browsers may keep: its address changes with it."""
        asset = self.assets.get(name)
        if asset is None or request.method not in {b"GET", b"HEAD"}:
            return _plain(request, 404, "there is no such file")
        request.setHeader(b"content-type", asset.content_type)
        request.setHeader(b"cache-control", _FOREVER)
        request.responseHeaders.removeHeader(b"vary")
        return asset.content

    @app.route("/login")
    async def login(self, request: Request) -> bytes:
        """The form to log in, and what it sends."""
        if request.method == b"POST":
            return await self._log_in(request)
        following = _following(read_query_safely(request).get("next"))
        if await self.sessions.find(request, self.core.auth) is not None:
            return _redirect(request, following)
        return self._login_form(request, following)

    @app.route("/logout")
    async def logout(self, request: Request) -> bytes:
        """End the session."""
        session = await self.sessions.find(request, self.core.auth)
        try:
            if request.method == b"POST" and session is not None:
                csrf.check_origin(request)
                csrf.check_token(session.key, "/logout", "logout", str(read_form(request).get("token", "")))
                self.sessions.close(request)
        except QrmdError as error:
            return _plain(request, error.code, str(error))
        return _redirect(request, "/login")

    @app.route("/events/stream")
    async def stream(self, request: Request) -> bytes:
        """Events as they happen."""
        session = await self.sessions.find(request, self.core.auth, touch=False)
        if session is None or session.account.actor.role not in ROLES or request.method != b"GET":
            return _plain(request, 404, "there is nothing to follow here")
        try:
            await self.feed.follow(request, session)
        except QrmdError as error:
            request.setHeader(b"retry-after", b"30")
            return _plain(request, error.code, str(error))
        return b""

    @app.route("/", defaults={"path": ""})
    @app.route("/<path:path>")
    async def page(self, request: Request, path: str) -> bytes:  # noqa: ARG002 - Klein's way to take every path
        """Any page."""
        try:
            return await self._serve(request)
        except Exception:
            incident = secrets.token_hex(4)
            log.exception("incident %s while serving %s", incident, request.path.decode("ascii", "replace")[:200])
            return _plain(request, 500, f"internal error, incident {incident} (the daemon's log has the details)")

    # ------------------------------------------------------------ log in

    def _login_form(self, request: Request, following: str, error: QrmdError | None = None, name: str = "") -> bytes:
        if error is not None:
            request.setResponseCode(error.code)
        request.setHeader(b"content-type", _HTML)
        return self.renderer.render(
            TEMPLATES, "login.html", {"following": following, "error": error, "name": name, "actor": None}
        )

    async def _log_in(self, request: Request) -> bytes:
        form: dict[str, Any] = {}
        following, name = "/", ""
        try:
            form = read_form(request)
            following, name = _following(form.get("next")), str(form.get("name", ""))[:64]
            csrf.check_origin(request)
            password = str(form.get("password", ""))
            if tokens.looks_like(password):
                raise NotAuthenticated("a token is for programs", hint="log in with your password")
            auth = self.core.auth
            actor = await auth.authenticate(name, password, request.peer, REALMS[self.name])
            self.sessions.open(request, await auth.account(actor))
        except QrmdError as error:
            return self._login_form(request, following, error, name)
        return _redirect(request, following)

    # ------------------------------------------------------------ pages

    async def _serve(self, request: Request) -> bytes:
        by_itself = request.header(b"HX-Request") is not None
        session = await self.sessions.find(request, self.core.auth, touch=not by_itself)
        if session is None:
            return self._ask_to_log_in(request, by_itself=by_itself)
        path = request.path.decode("utf-8", "replace")
        actor = session.account.actor
        pages = self.pages()
        found = routing.find(pages, path, actor.role)
        view = View(self, session, path, routing.menu(pages, actor.role, path))
        if found is None:
            first = next((entry for section in view.menu for entry in section["pages"]), None)
            if path == "/" and first is not None:
                return _redirect(request, first["path"])
            return self._refuse(request, view, NotFound("there is no such page", hint="the menu names those there are"))
        try:
            return await self._answer(request, view, *found)
        except QrmdError as error:
            return self._refuse(request, view, error)

    async def _answer(self, request: Request, view: View, page: Page, parts: dict[str, Any]) -> bytes:
        given = {**read_query(request), **parts}
        call = Call(self.core, view.session.account.actor, "")
        if request.method in {b"GET", b"HEAD"}:
            return await self._show(request, view, page, call, given, {})
        if request.method != b"POST":
            request.setHeader(b"allow", b"GET, HEAD, POST")
            return _plain(request, 405, "only GET and POST")
        return await self._act(request, view, page, call, given, parts)

    async def _act(
        self,
        request: Request,
        view: View,
        page: Page,
        call: Call,
        given: dict[str, Any],
        parts: dict[str, Any],
    ) -> bytes:
        """Do what a form asks: go on to where it says, or show the page again with what came of it."""
        form = read_form(request)
        action, token = str(form.pop("action", "")), str(form.pop("token", ""))
        csrf.check_origin(request)
        csrf.check_token(view.session.key, view.path, action, token)
        function = page.actions.get(action)
        if function is None:
            raise NotFound("this page has no such action", hint="open the page again")
        self.core.haste.take(call.actor)
        more: dict[str, Any] = {"acted": action, "values": _kept(form), "forgotten": _has_secrets(form)}
        try:
            answer = await function(call, {**form, **parts})
        except QrmdError as error:
            request.setResponseCode(error.code)
            return await self._show(request, view, page, call, given, {**more, "error": error})
        if isinstance(answer, str):
            return _redirect(request, answer)
        return await self._show(request, view, page, call, given, {**more, **answer})

    async def _show(
        self, request: Request, view: View, page: Page, call: Call, given: dict[str, Any], more: Mapping[str, Any]
    ) -> bytes:
        context = await page.context(call, given)
        values = {**view.values(page), "query": given, **context, **more}
        request.setHeader(b"content-type", _HTML)
        return self.renderer.render(page.templates, page.template, values)

    def _refuse(self, request: Request, view: View, error: QrmdError) -> bytes:
        request.setResponseCode(error.code)
        request.setHeader(b"content-type", _HTML)
        return self.renderer.render(TEMPLATES, "refused.html", {**view.values(None), "error": error})

    def _ask_to_log_in(self, request: Request, *, by_itself: bool) -> bytes:
        if by_itself:  # a region that refreshes itself must not swap the log-in form into the page
            request.setResponseCode(204)
            request.setHeader(b"hx-refresh", b"true")
            return b""
        if request.method not in {b"GET", b"HEAD"}:
            return _redirect(request, "/login")
        return _redirect(request, f"/login?next={_quoted(request.uri.decode('ascii', 'replace'))}")

    async def _holds(self, session: Session) -> bool:
        return not self.sessions.is_over(session) and await is_unchanged(session, self.core.auth)


def read_query_safely(request: Request) -> dict[str, Any]:
    """The query, empty when it can't be read."""
    try:
        return read_query(request)
    except QrmdError:
        return {}


def _following(value: Any) -> str:
    return value if isinstance(value, str) and routing.is_local(value) else "/"


def _quoted(uri: str) -> str:
    return quote(uri if routing.is_local(uri) else "/", safe="/")


def _kept(form: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown again in the form; secrets are typed again."""
    return {name: value for name, value in form.items() if not _is_secret(name)}


def _has_secrets(form: Mapping[str, Any]) -> bool:
    return any(value and _is_secret(name) for name, value in form.items())


def _is_secret(name: str) -> bool:
    return "password" in name or "secret" in name


def _redirect(request: Request, path: str) -> bytes:
    request.setResponseCode(303)
    request.setHeader(b"location", (path if routing.is_local(path) else "/").encode())
    return b""


def _plain(request: Request, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return text.encode() + b"\n"
