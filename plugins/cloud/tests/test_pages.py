"""Each page renders from what the verbs say, with everything escaped and nothing undefined."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment

from qrmd.api import Actor, Page, Role
from qrmd.operations.call import Call
from qrmd.web.render import make_environment
from qrmd_cloud.testing import ADMIN

ORDER = {"image": "micro", "memory_mb": 1024, "disk_mb": 16, "reason": "<b>now</b>"}


def render(house: Any, page: Page, actor: Actor, given: dict[str, Any]) -> str:
    known = {"site": page.site, "asset": lambda name: f"/static/{name}"}
    context = house.loop.run(page.context(Call(house.core, actor, ""), given))
    environment: Environment = make_environment(page.templates, known)
    always: dict[str, Any] = {
        "page": page, "path": page.path, "menu": [], "follows": False, "actor": actor, "query": given, "values": {},
        "acted": "", "error": None, "plan": None, "notice": "",
        "form": lambda action, _path="": f"[{action}]",
        "can": lambda verb: actor.role in house.core.verbs.get(verb).roles,
    }  # fmt: skip
    return environment.get_template(page.template).render(always | context)


def pages(house: Any, site: str) -> dict[str, Page]:
    return {page.path: page for page in house.core.registries.pages if page.site == site}


def test_the_portal_from_order_to_account(house: Any) -> None:
    house.furnish()
    bob = Actor("cloud:bob", Role.CLOUD, house.bob)
    found = pages(house, "portal")
    assert "1000 CCU" in render(house, found["/order"], bob, {})
    offer = render(house, found["/order"], bob, {"image": "micro", "cpus": "2", "memory_mb": "512", "quantity": "2"})
    assert "Placement" in offer
    assert "h1, h1" in offer
    assert "must be" in render(house, found["/order"], bob, {"image": "micro", "cpus": "many"})
    form = {name: str(value) for name, value in ORDER.items()} | {"key": "k", "partial": "1"}
    call = Call(house.core, bob, "")
    path = house.loop.run(found["/order"].actions["order"](call, form))
    assert path == house.loop.run(found["/order"].actions["order"](call, form)) == "/requests/1"
    shown = render(house, found["/requests/<int:id>"], bob, {"id": 1})
    assert "&lt;b&gt;now" in shown
    assert "<b>now" not in shown
    assert "[approve]" not in shown
    house.finish(house.call("cloud.request.approve", 1))
    assert "[stop]" in render(house, found["/servers"], bob, {})
    assert "[deprovision]" in render(house, found["/requests/<int:id>"], bob, {"id": 1})
    assert "cloud-1-1" in render(house, found["/servers/<int:id>/console"], bob, {"id": 1})
    assert "first credit" in render(house, found["/account"], bob, {})
    assert "micro" in render(house, found["/requests"], bob, {})


def test_the_administration_answers(house: Any) -> None:
    house.furnish()
    found = pages(house, "admin")
    house.call("cloud.request.create", {**ORDER, "user": "bob"})
    assert "bob" in render(house, found["/cloud/requests"], ADMIN, {"state": "new"})
    assert "[approve]" in render(house, found["/cloud/requests/<int:id>"], ADMIN, {"id": 1})
    assert "bob@example.org" in render(house, found["/cloud/users"], ADMIN, {})
    assert "[update]" in render(house, found["/cloud/products"], ADMIN, {})
    looker = Actor("user:eye", Role.READONLY)
    assert "[update]" not in render(house, found["/cloud/products"], looker, {})
    assert "[approve]" not in render(house, found["/cloud/requests/<int:id>"], looker, {"id": 1})
    deny = found["/cloud/requests/<int:id>"].actions["deny"]
    house.loop.run(deny(Call(house.core, ADMIN, ""), {"id": 1, "reason": "no"}))
    assert house.call("cloud.request.get", 1)["state"] == "denied"


@pytest.mark.parametrize("site", ["admin", "portal"])
def test_no_page_is_for_everybody(house: Any, site: str) -> None:
    for page in pages(house, site).values():
        if page.path.startswith("/cloud/") or site == "portal":
            assert (Role.CLOUD in page.roles) == (site == "portal")
