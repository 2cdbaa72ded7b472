"""Plans for appliances."""

from __future__ import annotations

import json
from dataclasses import replace

from qrmd.model import Appliance, ApplianceView, Image, Network, Nic, NicView, Resource, Storage
from qrmd.states import ApplianceState, ImageState, ResourceState
from qrmd.workflow.plan import Owned, Phase
from qrmd_dnsmasq.files import network_from
from qrmd_dnsmasq.steps import objections, release_steps, reserve_steps

FRONT = Network(1, "front", "br-a", "10.9.1.0/24", "10.9.1.10", "10.9.1.99", dns=("192.0.2.1",))
BACK = Network(2, "back", "br-b", "10.9.2.0/24", "10.9.2.10", "10.9.2.99")
CARDS = (
    NicView(Nic(1, 12, 0, 1, "52:54:00:00:00:01", "10.9.1.10"), FRONT),
    NicView(Nic(2, 12, 1, 2, "52:54:00:00:00:02", "10.9.2.10"), BACK),
    NicView(Nic(3, 12, 2, 1, "52:54:00:00:00:03", "10.9.1.11"), FRONT),
)


def view(name: str = "web.1", hostname: str = "") -> ApplianceView:
    return ApplianceView(
        installation="11111111-1111-4111-8111-111111111111",
        appliance=Appliance(12, name, 1, "kvm-vm", 1, 256, 512, ApplianceState.STARTING, hostname=hostname),
        image=Image(1, "base", 1, "base", "raw", 256, ImageState.IDLE),
        image_storage=Storage(1, "files", "dir", "/srv"),
        kernel=None,
        resource=None,
        host=None,
        nics=CARDS,
        volumes=(),
    )


def test_each_card_gets_its_address_and_a_name_unique_on_its_network() -> None:
    steps = reserve_steps(view(hostname="web-1"))
    given = [(step.args["mac"], step.args["address"], step.args["hostname"]) for step in steps]
    assert given == [
        ("52:54:00:00:00:01", "10.9.1.10", "web-1"),
        ("52:54:00:00:00:02", "10.9.2.10", "web-1"),
        ("52:54:00:00:00:03", "10.9.1.11", "web-1-1"),
    ]
    assert {step.phase for step in steps} == {Phase.NETWORK}


def test_a_name_with_dots_gives_one_label() -> None:
    assert reserve_steps(view("web.lab.example"))[0].args["hostname"] == "web"


def test_what_is_made_is_owned_and_what_is_released_disowned() -> None:
    expected = [(Owned("dhcp-host", card.nic.mac, f"network:{card.network.id}"),) for card in CARDS]
    assert [step.owns for step in reserve_steps(view())] == expected
    assert [step.disowns for step in release_steps(view())] == expected


def test_arguments_survive_the_journal() -> None:
    for step in (*reserve_steps(view()), *release_steps(view())):
        args = json.loads(json.dumps(dict(step.args)))
        assert args == step.args
        assert network_from(args["network"]) in {FRONT, BACK}


def test_a_lease_is_taken_back_only_after_the_machine_is_seen_off() -> None:
    resource = Resource(3, "web.1", "kvm-vm", "11111111-1111-4111-8111-111111111112", ResourceState.ACTIVE)
    assert {step.needs for step in release_steps(replace(view(), resource=resource))} == {("off",)}
    assert {step.needs for step in release_steps(view())} == {()}


def test_operation_check_objects_to_a_network_that_can_not_be_served() -> None:
    six = Network(3, "six", "br-c", "fd00::/64", "fd00::10", "fd00::99")
    cards = (*CARDS, NicView(Nic(4, 12, 3, 3, "52:54:00:00:00:04", "fd00::10"), six))
    assert objections(replace(view(), nics=cards)) == [
        "network six is IPv6; the dnsmasq plugin gives out IPv4 addresses only"
    ]
    assert objections(view()) == []
