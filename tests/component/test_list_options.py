"""Lists as people use them: searched, ordered, skipped through; counted by state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import running_sites


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("lists")) as running:
        for name, memory in (("alpha", 64), ("beta", 512), ("gamma", 128)):
            running.call(
                "appliance.add", {"name": name, "image": "small", "memory_mb": memory, "comment": "100% Ours_"}
            )
        yield running


def _names(daemon: Daemon, **options: Any) -> list[str]:
    rows = daemon.call("appliance.list", {"fields": ["name"], **options})
    return [row["name"] for row in rows]


def test_order_goes_both_ways_and_pages_by_skip(daemon: Daemon) -> None:
    everything = _names(daemon, order="name")
    assert everything == sorted(everything)
    assert _names(daemon, order="-name") == everything[::-1]
    assert _names(daemon, order="name", skip=1, limit=2) == everything[1:3]
    sizes = [row["memory_mb"] for row in daemon.call("appliance.list", {"order": "-memory_mb"})]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("text", "found"), [("ALPH", {"alpha"}), ("% ours_", {"alpha", "beta", "gamma"}), ("'", set())]
)
def test_search_looks_for_the_text_itself(daemon: Daemon, text: str, found: set[str]) -> None:
    assert set(_names(daemon, search=text)) == found


def test_a_list_refuses_what_it_does_not_know(daemon: Daemon) -> None:
    for verb, options in (
        ("appliance.list", {"order": "name; DROP TABLE hosts"}),
        ("appliance.list", {"order": "name", "after": 3}),
        ("event.list", {"search": "x"}),
        ("user.list", {"order": "name"}),
        ("plugin.list", {"skip": 1}),
    ):
        with pytest.raises(CallFailed) as refused:
            daemon.call(verb, options)
        assert refused.value.code == 400, verb


def test_states_are_counted(daemon: Daemon) -> None:
    counted = daemon.call("qrm.states")
    assert counted["appliance"] == {"stopped": 4, "active": 1}
    assert counted["host"] == {"up": 1}
    assert counted["workflow"] == {}


def test_a_list_of_hosts_says_what_they_have_promised(daemon: Daemon) -> None:
    (host,) = daemon.call("host.list")
    assert (host["used_cpus"], host["used_memory_mb"], host["machines"]) == (1, 256, 1)
