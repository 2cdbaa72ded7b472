"""What every template sees beside its page's own context."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from qrmd.errors import NotFound
from qrmd.hooks.registered import Page
from qrmd.web import csrf
from qrmd.web.live import ROLES
from qrmd.web.sessions import Session

if TYPE_CHECKING:
    from qrmd.web.site import WebSite


@dataclass(frozen=True, slots=True)
class View:
    """One request of somebody who is logged in."""

    site: WebSite
    session: Session
    path: str
    menu: list[dict[str, Any]]

    def values(self, page: Page | None) -> dict[str, Any]:
        """Names that are always there; see ``docs/pages.md``."""
        actor = self.session.account.actor
        return {
            "page": page,
            "path": self.path,
            "menu": self.menu,
            "actor": actor,
            "form": self.form,
            "can": self.can,
            "follows": actor.role in ROLES,
            "acted": "",
            "values": {},
            "error": None,
            "plan": None,
            "notice": "",
            "query": {},
        }

    @property
    def form(self) -> Callable[..., Markup]:
        """``form("start")``: the hidden fields that a form of this page needs to be believed, and to count once."""

        def fields(action: str, path: str = "") -> Markup:
            token = csrf.make_token(self.session.key, path or self.path, action)
            return Markup(
                '<input type="hidden" name="action" value="{}"><input type="hidden" name="token" value="{}">'
                '<input type="hidden" name="key" value="{}">'
            ).format(action, token, secrets.token_hex(16))

        return fields

    def can(self, verb: str) -> bool:
        """Whether this actor's role grants a verb."""
        try:
            return self.session.account.actor.role in self.site.core.verbs.get(verb).roles
        except NotFound:
            return False
