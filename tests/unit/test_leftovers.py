"""The comparison of what is outside with what the rows say, and that nothing is left out of it in silence."""

from __future__ import annotations

from typing import Any

from qrmd.drivers import Found
from qrmd.leftovers import CORE, Place, Report, compare
from qrmd.store.audit import OwnedRow

HOST, NETWORK = "host:1", "network:1"


def row(kind: str, name: str, place: str = HOST, plugin: str = CORE, subject: str = "appliance:1") -> OwnedRow:
    return OwnedRow(1, subject, plugin, kind, name, place, 7)


def found(kind: str, name: str, place: str = HOST, subject: str = "appliance:1") -> Found:
    return Found(kind, name, place, subject)


def compared(looked: list[Place], owned: list[OwnedRow], busy: tuple[str, ...] = (), **more: Any) -> Report:
    return compare(
        looked, owned, frozenset(busy), more.pop("ignored", frozenset()), frozenset(more.pop("auditing", ()))
    )


def test_what_is_there_and_known_is_clean() -> None:
    looked = [Place(HOST, CORE, (found("domain", "u"), found("seed", "u")))]
    assert compared(looked, [row("domain", "u"), row("seed", "u"), row("console", "u")]).clean


def test_over_and_missing_are_told_apart_and_work_under_way_is_left_alone() -> None:
    looked = [Place(HOST, CORE, (found("domain", "over"),))]
    report = compared(looked, [row("domain", "gone")])
    assert [each.found.external_id for each in report.orphaned] == ["over"]
    assert [each.external_id for each in report.missing] == ["gone"]
    assert compared(looked, [row("domain", "gone")], busy=("appliance:1",)).clean


def test_what_is_ignored_is_ignored_at_its_place_only() -> None:
    ignored = frozenset({("domain", "over", HOST)})
    assert compared([Place(HOST, CORE, (found("domain", "over"),))], [], ignored=ignored).clean
    elsewhere = Place("host:2", CORE, (found("domain", "over", "host:2"),))
    assert not compared([elsewhere], [], ignored=ignored).clean


def test_the_only_thing_of_its_kind_is_missed_too() -> None:
    cards = [row("dhcp-host", "52:54", NETWORK, "dnsmasq")]
    report = compared([Place(NETWORK, "dnsmasq")], cards, auditing=("dnsmasq",))
    assert report.missing == cards


def test_what_went_with_its_place_is_missed() -> None:
    cards = [row("dhcp-host", "52:54", NETWORK, "dnsmasq")]
    assert compared([], cards, auditing=("dnsmasq",)).missing == cards


def test_an_auditor_answers_for_its_own_plugin_only() -> None:
    looked = [Place(NETWORK, "dnsmasq"), Place(NETWORK, "dns", (found("record", "web", NETWORK),))]
    report = compared(looked, [row("record", "web", NETWORK, "dns")], auditing=("dnsmasq", "dns"))
    assert report.clean


def test_an_orphan_is_of_who_found_it() -> None:
    looked = [
        Place(NETWORK, "dnsmasq", (found("dhcp-host", "52:54", NETWORK),)),
        Place(NETWORK, "dns", (found("record", "web", NETWORK),)),
    ]
    report = compared(looked, [], auditing=("dnsmasq", "dns"))
    assert [(each.found.external_id, each.by.plugin) for each in report.orphaned] == [
        ("52:54", "dnsmasq"),
        ("web", "dns"),
    ]


def test_a_place_that_does_not_answer_is_unknown_with_what_we_own_there() -> None:
    report = compared([Place(HOST, CORE, fault="no answer")], [row("domain", "u"), row("seed", "u")])
    assert report.unknown == [{"place": HOST, "fault": "no answer", "owned": ["domain u", "seed u"]}]
    assert not report.clean


def test_where_nobody_looks_is_unknown() -> None:
    cards = [row("dhcp-host", name, NETWORK, "dnsmasq") for name in ("52:54", "52:55")]
    report = compared([Place(HOST, CORE)], [*cards, row("domain", "u", "host:9")])
    assert [each["place"] for each in report.unknown] == ["host:9", NETWORK]
    assert report.unknown[1]["owned"] == ["dhcp-host 52:54", "dhcp-host 52:55"]
    assert "plugin dnsmasq" in report.unknown[1]["fault"]
    assert report.missing == []
