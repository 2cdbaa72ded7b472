"""The tree of a site's pages, made when somebody asks for the first of them."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

if TYPE_CHECKING:
    from qrmd.core import Core
    from qrmd.web.request import Request
    from qrmd.web.site import WebSite


class Pages(Resource):
    """Root of a site. What makes pages is not imported before: programs have their answers sooner after a start.

    Args:
        name: ``admin`` or ``portal``.
        reactor: turns time.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, core: Core, name: str, reactor: Any) -> None:
        super().__init__()
        self._given = core, name, reactor
        self._site: WebSite | None = None
        self._tree: Any = None

    def render(self, request: Request) -> Any:
        """Answer any path."""
        if self._site is None:
            from qrmd.web.site import WebSite  # noqa: PLC0415 - not before

            self._site = WebSite(*self._given)
            self._tree = self._site.tree()
        return self._tree.render(request)

    def stop(self) -> None:
        """End the event streams."""
        if self._site is not None:
            self._site.stop()
