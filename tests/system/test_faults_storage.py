"""Storages that run full: in the middle of a copy, and under a running guest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrmd.process import run, spawn
from qrmd.testing.datacentre import STORAGE, DataCentre
from qrmd.testing.journal import watch
from qrmd.testing.lab import exec_argv
from qrmd.testing.needs import require
from qrmd.testing.strikes import options
from qrmd.testing.volume import fill, free_again, small_filesystem
from qrmd.testing.waiting import wait_until

require("filesystems", "ssh")

SPACE_MB = 420
IMAGE_MB = 150


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_filesystem(tmp_path_factory.mktemp("small"), SPACE_MB) as place:
        yield place


@pytest.fixture(scope="module")
def centre(make_centre: Callable[..., DataCentre], small: Path) -> DataCentre:
    """Its volumes lie on a file system of 420 MiB."""
    made = make_centre(storage=small)
    made.build(overcommit=4.0)
    return made


def test_a_disk_full_in_the_middle_of_a_copy_undoes_it(centre: DataCentre, small: Path, tmp_path: Path) -> None:
    daemon, source = centre.daemon, tmp_path / "big.raw"
    source.write_bytes(os.urandom(2**20) * IMAGE_MB)
    spec = {"name": "big", "storage": STORAGE, "path": str(source), "format": "raw"}
    daemon.finish("image.import", spec)
    centre.before = centre.outside()
    with daemon.journal() as journal:
        before = journal.newest()
        daemon.call("image.clone", "big", "copy", options())
        workflow = journal.find("image.clone", before)
        watch(lambda: max(map(size_of, small.glob(".image-*.part")), default=0) > 2**23, 30.0, "the copy")
        fill(small)
    found = daemon.wait(workflow)
    free_again(small)
    assert found["state"] == "undone", found
    assert found["fault"]["data"]["missing_mb"] > 0, found["fault"]
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]
    daemon.finish("image.clone", "big", "copy")
    for name in ("copy", "big"):
        daemon.finish("image.remove", name)


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_full_disk_pauses_a_guest_until_there_is_room(centre: DataCentre, small: Path, tmp_path: Path) -> None:
    daemon, key = centre.daemon, tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], timeout=20)
    appliance = centre.start_appliance(ssh_keys=[key.with_suffix(".pub").read_text().strip()])
    address = daemon.call("appliance.get", appliance)["nics"][0]["address"]
    fill(small, leave_mb=4)
    no_questions = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    write = "dd if=/dev/urandom of=/root/much bs=1M count=32; sync"
    line = ["ssh", *no_questions, "-i", str(key), f"root@{address}", write]
    writing = spawn(exec_argv(centre.access, line), log=tmp_path / "ssh.log")
    try:
        get = daemon.call
        wait_until(lambda: get("appliance.get", appliance)["state"] == "paused", timeout=90, what="the pause")
        paused = [each for each in get("event.list") if each["kind"] == "appliance.paused"]
        assert paused[-1]["subject"] == f"appliance:{appliance}"
        assert paused[-1]["reason"], paused
        free_again(small)
        daemon.call("appliance.resume", appliance, {"reason": "there is room"})
        wait_until(lambda: get("appliance.get", appliance)["state"] == "active", timeout=30, what="the resume")
        assert writing.wait(90) == 0, (tmp_path / "ssh.log").read_text()
    finally:
        writing.kill()
        free_again(small)
    assert "appliance.resumed" in {each["kind"] for each in daemon.call("event.list")}
    assert "active" in daemon.fault("appliance.resume", appliance).args[0]
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def test_a_paused_guest_can_be_stopped(centre: DataCentre, small: Path) -> None:
    appliance = centre.start_appliance(networks=())
    name = next(iter(centre.outside().domains))
    run(["virsh", "--connect", centre.access.libvirt_uri, "suspend", name], timeout=20)
    get = centre.daemon.call
    wait_until(lambda: get("appliance.get", appliance)["state"] == "paused", timeout=30, what="the pause")
    centre.give_back(appliance)
    assert centre.leftovers() == {}
