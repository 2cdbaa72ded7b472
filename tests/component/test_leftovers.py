"""``qrm audit leftovers`` as an administrator types it: what it finds, what it does about it, and its exit status."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from qrmd.cli.audit import UNCLEAN
from qrmd.cli.connection import CallFailed
from qrmd.process import Completed, run
from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import password_of
from qrmd.testing.waiting import wait_until


@pytest.fixture
def daemon(faulty_daemon: Daemon) -> Daemon:
    return faulty_daemon


def qrm(daemon: Daemon, *words: str) -> Completed:
    """The program, as the first administrator."""
    url = f"https://admin:{daemon.password}@127.0.0.1:{daemon.port}"
    known = {"QRM_URL": url, "QRM_CA_FILE": str(daemon.ca_file)}
    environment = {**os.environ, "HOME": str(daemon.setting.directory), **known}
    return run([sys.executable, "-m", "qrmd.cli.main", *words], timeout=120, check=False, env=environment)


def audit(daemon: Daemon, *words: str, status: int = UNCLEAN) -> dict[str, Any]:
    """What the command says, once its exit status is as it must be."""
    done = qrm(daemon, "audit", "leftovers", "-o", "json", *words)
    assert done.returncode == status, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["clean"] is (status == 0)
    return found


def forget_the_last_start(daemon: Daemon) -> None:
    """web-2 is started, and the daemon goes on from a backup of the time before."""
    copy = daemon.call("qrm.backup", "before.sqlite")["path"]
    daemon.finish("appliance.start", "web-2")
    daemon.stop()
    database = str(daemon.state_dir / "qrmd.sqlite")
    restored = qrm(daemon, "restore", copy, "--database", database)
    assert restored.returncode == 0, restored.stderr
    daemon.start()


def orphans(report: dict[str, Any]) -> dict[str, str]:
    """Kind to the name outside."""
    return {each["kind"]: each["external_id"] for each in report["orphaned"]}


def test_orphans_are_ignored_adopted_and_removed(daemon: Daemon) -> None:
    assert audit(daemon, status=0)["orphaned"] == []
    forget_the_last_start(daemon)
    found = audit(daemon)
    known = orphans(found)
    assert set(known) == {"domain", "volume"}
    assert {each["subject"] for each in found["orphaned"]} == {"appliance:2"}

    refused = qrm(daemon, "audit", "leftovers", "--ignore")
    assert refused.returncode == 2
    assert "needs a reason" in refused.stderr
    ignored = audit(daemon, "--ignore", "--only", known["volume"], "--reason", "looked at it")
    assert orphans(ignored) == {"domain": known["domain"]}
    assert [each["reason"] for each in daemon.call("event.list", {"where": {"kind": "audit.ignored"}})] == [
        "looked at it"
    ]

    would = audit(daemon, "--adopt", "--dry-run")
    assert [(each["external_id"], each["would"]) for each in would["acted"]] == [(known["domain"], "adopt")]
    assert orphans(audit(daemon)) == {"domain": known["domain"]}
    adopted = audit(daemon, "--adopt", status=0)
    assert [each["done"] for each in adopted["acted"]] == ["adopt"]
    with daemon.journal() as journal:
        row = journal.db.row("SELECT subject, plugin FROM owned WHERE external_id = ?", (known["domain"],))
    assert row is not None
    assert tuple(row) == ("appliance:2", "core")


def test_orphans_are_removed_and_nothing_else(daemon: Daemon) -> None:
    forget_the_last_start(daemon)
    known = orphans(audit(daemon))
    would = audit(daemon, "--remove", "--dry-run")
    assert {each["external_id"]: each["would"] for each in would["acted"]} == dict.fromkeys(known.values(), "remove")
    assert orphans(audit(daemon)) == known
    removed = audit(daemon, "--remove", "--reason", "of a lost start", status=0)
    assert {each["done"] for each in removed["acted"]} == {"remove"}
    assert daemon.call("appliance.get", "web-1")["state"] == "active"
    daemon.finish("appliance.start", "web-2")
    assert audit(daemon, status=0)["missing"] == []


def test_the_same_key_acts_once(daemon: Daemon) -> None:
    forget_the_last_start(daemon)
    first = daemon.call("audit.leftovers", {"action": "remove", "key": "k"})
    assert len(first["acted"]) == 2
    assert daemon.call("audit.leftovers", {"action": "remove", "key": "k"}) == first


def test_an_unreachable_host_is_unknown_with_what_is_ours_there(daemon: Daemon, faults: Path) -> None:
    resource = daemon.call("resource.get", daemon.call("appliance.get", "web-1")["resource_id"])
    silent = [{"verb": verb, "effect": "fail", "host": "node-1"} for verb in ("machines", "find", "load", "check")]
    faults.write_text(json.dumps(silent), encoding="utf-8")
    found = audit(daemon)
    (unknown,) = found["unknown"]
    assert unknown["place"] == "host:1"
    assert f"domain {resource['uuid']}" in unknown["owned"]
    assert found["missing"] == found["orphaned"] == []
    acted = audit(daemon, "--remove")
    assert acted["acted"] == [], "what can't be seen is not taken for gone"
    faults.write_text("[]", encoding="utf-8")
    wait_until(lambda: daemon.call("audit.leftovers")["clean"], timeout=60, what="a clean audit")
    audit(daemon, status=0)


def test_what_is_missing_is_named_and_its_row_forgotten_on_request(daemon: Daemon) -> None:
    daemon.stop()
    for path in daemon.setting.directory.rglob("machines.journal"):
        path.unlink()
    daemon.start()
    (missing,) = audit(daemon)["missing"]
    assert (missing["kind"], missing["subject"], missing["place"]) == ("domain", "appliance:1", "host:1")
    acted = audit(daemon, "--remove", "--reason", "the host was reinstalled", status=0)["acted"]
    assert [each["done"] for each in acted] == ["row forgotten"]


def test_a_type_that_nobody_serves_is_unknown(daemon: Daemon) -> None:
    daemon.stop()
    broken = daemon.setting.directory / "plugins.d/simulated.toml"
    good = broken.read_text(encoding="utf-8")
    broken.write_text("nonsense = 1\n", encoding="utf-8")
    daemon.start()
    assert {each["place"] for each in audit(daemon)["unknown"]} == {"host:1", "storage:1"}
    broken.write_text(good, encoding="utf-8")


def test_who_may_only_look_changes_nothing(daemon: Daemon) -> None:
    someone = daemon.login("readonly", password_of("readonly"))
    assert someone.call("audit.leftovers")["clean"]
    for action in ("remove", "adopt", "ignore"):
        with pytest.raises(CallFailed) as caught:
            someone.call("audit.leftovers", {"action": action, "reason": "why not"})
        assert caught.value.code == 403
