"""The core's own pages: values like those of plugins."""

from __future__ import annotations

from functools import cache

from qrmd.hooks.registered import Page


@cache
def core_pages() -> tuple[Page, ...]:
    """In the order of the menu."""
    from qrmd.web.pages import (  # noqa: PLC0415 - they import what needs this package
        appliances,
        audit,
        dashboard,
        datacentre,
        events,
        hosts,
        images,
        places,
        plugins,
        resources,
        settings,
        users,
        workflows,
    )

    modules = (
        dashboard, datacentre, appliances, resources, hosts, images, places, workflows, events, audit, plugins,
        users, settings,
    )  # fmt: skip
    return tuple(page for module in modules for page in module.PAGES)
