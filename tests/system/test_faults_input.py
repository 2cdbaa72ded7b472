"""Orders that can't be: refused with a code before anything is made, naming what is missing; the daemon lives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.testing.attack import Target, refusal, target
from qrmd.testing.waiting import wait_until

REFUSED = {400, 404, 409, 507}
HOSTILE = ['a"b', "a'b", "a\nb", "a;b", "../x", "x" * 10_000]
ORDERS: list[dict[str, Any]] = [
    {"image": "nonesuch"},
    *({"image": name} for name in HOSTILE),
    *({"hostname": name} for name in HOSTILE),
    *({"type": name} for name in HOSTILE),
    *({size: value} for size in ("cpus", "memory_mb", "quantity", "nics") for value in (0, -1, 2**31 - 1, "x", 1.5)),
    *({"disk_mb": value} for value in (-1, 2**31 - 1, "9" * 30)),
    {"quantity": 21},
    {"surprise": 1},
    {"image": ["im"]},
    {"partial": "yes"},
    {"ssh_key": "ssh-ed25519 AAAA\nssh-rsa evil"},
    {"reason": "x" * 10_000},
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One host with 256 GiB of memory, a storage of 500,000 MiB, users with 1,000 CCUs."""
    with target(tmp_path_factory.mktemp("house")) as running:
        yield running


def unchanged(house: Target, *calls: tuple[Any, ...], actor: str = "alice") -> list[CallFailed]:
    """The faults of calls of which each must be refused and change no row."""
    faults, connection = [], house.login(actor)
    connection.call("qrm.version")
    with house.daemon.journal() as journal:
        wait_until(journal.observed, timeout=60, what="plugins that have seen all events")
        before = journal.dump()
        for method, *arguments in calls:
            faults.append(refusal(connection, method, *arguments))
            assert faults[-1].code in REFUSED, (method, str(arguments)[:200], faults[-1])
        assert journal.dump() == before
    assert house.daemon.call("qrm.health")
    return faults


def test_orders_that_can_not_be_are_refused_and_change_nothing(house: Target) -> None:
    unchanged(house, *(("cloud.request.create", {"image": "im", **each}) for each in ORDERS))
    nothing: list[Any] = [[], "x", 1, {}]
    unchanged(house, *(("cloud.request.create", each) for each in nothing))
    unchanged(house, *(("cloud.request.plan", {"image": "im", **each}) for each in ORDERS))


def test_ccus_that_are_missing_are_named(house: Target) -> None:
    dear = {"image": "im", "cpus": 16, "memory_mb": 16_384, "quantity": 4}
    (fault,) = unchanged(house, ("cloud.request.create", dear))
    assert fault.code == 507
    assert "CCU are missing" in str(fault)


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        ({"memory_mb": 2**20}, f"{2**20 - 2**18 + 512} memory_mb"),
        ({"cpus": 512}, "256 cpus"),
        ({"disk_mb": 600_000}, "MiB"),
    ],
)
def test_memory_cpus_and_disk_that_are_missing_are_named(house: Target, wanted: dict[str, Any], missing: str) -> None:
    name = f"large-{next(iter(wanted)).replace('_', '-')}"
    house.daemon.call("appliance.add", {"name": name, "image": "im", **wanted})
    dry = {"dry_run": True}
    for fault in unchanged(house, ("appliance.start", name, "", dry), actor="operator"):
        assert (fault.code, missing in str(fault)) == (507, True), fault
    fault = refusal(house.login("operator"), "appliance.start", name)
    assert (fault.code, missing in str(fault)) == (507, True), fault
    assert house.daemon.call("appliance.get", name)["state"] == "stopped"
    assert house.daemon.call("audit.leftovers")["clean"]
    house.daemon.finish("appliance.remove", name)
