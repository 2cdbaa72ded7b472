"""States, limits, prices, specs, mails: what needs no database."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from qrmd.api import SECOND, Edge, InvalidInput, NoCapacity
from qrmd.operations.schema import convert
from qrmd_cloud import limits, mail, pricing, rules, spec, states
from qrmd_cloud.config import Config
from qrmd_cloud.lease import need
from qrmd_cloud.limits import Amounts
from qrmd_cloud.model import Product, ProductKind, User
from qrmd_cloud.preview import item
from qrmd_cloud.rules import Rules
from qrmd_cloud.spec import ImageFacts, RequestSpec
from qrmd_cloud.testing import request

MICRO_IMAGE = ImageFacts("micro", 256, 64)


@pytest.mark.parametrize("edges", [states.REQUEST_EDGES, states.SERVER_EDGES, states.MAIL_EDGES])
def test_each_state_is_reached_and_each_edge_has_a_reason(edges: tuple[Edge, ...]) -> None:
    machine = list(type(edges[0].source))
    assert {edge.target for edge in edges} | {machine[0]} == set(machine)
    assert all(edge.reason for edge in edges)
    assert len({edge[:2] for edge in edges}) == len(edges)


def test_states_on_the_way_have_a_way_to_fail_and_a_way_back() -> None:
    for state in ("provisioning", "deprovisioning"):
        assert states.is_allowed("cloud_request", state, "error")
        assert states.is_allowed("cloud_request", "error", state)


def test_ends_are_ends() -> None:
    assert {edge.source for edge in states.REQUEST_EDGES}.isdisjoint({"done", "denied", "cancelled", "expired"})


def products(*given: tuple[ProductKind, str, int, int]) -> list[Product]:
    return [
        Product(i, kind, value, kind.value, unit, price, True) for i, (kind, value, unit, price) in enumerate(given)
    ]


def test_price_lines_sum_to_the_price() -> None:
    lines = pricing.price(
        products(
            (ProductKind.CPU, "", 1, 1_000_000),
            (ProductKind.MEMORY, "", 256, 1_000_000),
            (ProductKind.HA, "", 1, 7_000_000),
            (ProductKind.TYPE, "kvm-vm", 1, 500_000),
            (ProductKind.IMAGE, "windows", 1, 9_000_000),
        ),
        item(request(1, cpus=2, memory_mb=640, type="kvm-vm")),
    )
    assert [(line.kind, line.amount_micro) for line in lines] == [
        ("cpu", 2_000_000),
        ("memory", 2_500_000),
        ("type", 500_000),
    ]
    assert pricing.total(lines) == 5_000_000


def test_a_limit_counts_what_is_asked_for_and_names_what_is_too_much() -> None:
    user = User(1, "bob", "", "", 0, limit_cpus=4)
    limits.refuse_excess(user, Amounts(cpus=2), Amounts(cpus=2))
    with pytest.raises(NoCapacity) as raised:
        limits.refuse_excess(user, Amounts(cpus=2), Amounts(servers=1, cpus=5))
    assert raised.value.data["missing"] == {"cpus": 3}


@pytest.mark.parametrize(
    "bad",
    [
        {"cpus": 0},
        {"cpus": -1},
        {"memory_mb": 0},
        {"quantity": 0},
        {"nics": 0},
        {"cpus": 10**9},
        {"cpus": "two"},
        {"cpus": True},
        {"memory_mb": 2**70},
        {"hostname": "a;b"},
        {"hostname": "../x"},
        {"hostname": 'a"b'},
        {"hostname": "a\nb"},
        {"hostname": "a" * 10_000},
        {"ssh_key": "ssh-ed25519 AAAA\nssh-rsa evil"},
        {"surprise": 1},
        {"ha": "yes"},
        {"start": "tomorrow"},
        {"stop": "2020-01-01T00:00:00Z"},
        {"type": "a b"},
        {"disk_mb": 10},
        {"quantity": 21},
        {"memory_mb": 32},
        {"nics": 5},
    ],
)
def test_hostile_and_absurd_orders_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        spec.check(convert(RequestSpec, {"image": "micro", **bad}, "request"), MICRO_IMAGE, Rules(), 1, 2 * 10**15)


def test_an_order_with_nothing_said_is_as_large_as_its_image() -> None:
    found = spec.check(RequestSpec(image="micro"), MICRO_IMAGE, Rules(), 7, 10**15)
    assert (found.disk_mb, found.quantity, found.user_id, found.start_at, found.stop_at) == (256, 1, 7, 10**15, 0)


def test_a_hold_is_for_the_whole_lease_or_for_a_day() -> None:
    now = 10**15
    lease = request(1, start_at=now, stop_at=now + 7200 * SECOND, price_micro=4_000_000)
    assert need(lease, 2, now, Rules()) == 16_000_000
    assert need(request(1, price_micro=4_000_000), 1, now, Rules()) == 96_000_000


def test_approval_policy() -> None:
    under = rules.compose(Config(), {"cloud.approval": "auto_under", "cloud.approval_under_ccu": "96"})
    assert under.approves(96_000_000)
    assert not under.approves(96_000_001)
    assert not Rules().approves(0)


def test_every_mail_template_has_a_subject() -> None:
    for name, template in mail.load_templates().items():
        assert template.subject, name
        assert template.text.strip(), name


def test_a_missing_variable_is_an_error_and_text_is_never_a_template() -> None:
    template = mail.load_templates()["denied"]
    with pytest.raises(UndefinedError):
        mail.render(template.text, {})
    said = {"user": "bob", "request": 1, "quantity": 1, "image": "micro", "cpus": 1, "memory_mb": 1, "disk_mb": 1}
    assert "{{ 7 * 7 }}" in mail.render(template.text, said | {"reason": "{{ 7 * 7 }}"})


def test_a_subject_stays_one_line() -> None:
    found = mail.arguments(mail.Template("Hello {{ user }}", "x"), "a@b.c", {"user": "bob\nBcc: all"})
    assert "\n" not in found["subject"]
