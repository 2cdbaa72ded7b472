"""The pure parts of the lab and of the image builder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrmd.errors import InvalidInput, PreconditionFailed
from qrmd.testing.images import cache
from qrmd.testing.images.packages import find_kernel, sort_release
from qrmd.testing.lab import exec_argv
from qrmd.testing.lab.access import make_access
from qrmd.testing.needs import find_missing
from qrmd.testing.waiting import wait_until


@pytest.mark.parametrize("name", ["", "A", "1a", "a/b", "../x", "a b", "a" * 21, "a\n", "-a"])
def test_names_that_could_not_be_a_directory_or_host_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        make_access(name, "qemu", Path("x"))


def test_the_longest_name_leaves_room_in_a_socket_path() -> None:
    access = make_access("a" * 20, "qemu", Path("x"))
    assert len(access.libvirt_uri.partition("socket=")[2]) < 100
    assert len(str(access.state_dir)) < 60  # libvirt adds lib/qemu/domain-…/monitor.sock under its own name


def test_access_is_json() -> None:
    access = make_access("lab", "kvm", Path("/images/micro.qcow2"))
    assert json.loads(json.dumps(access.as_dict()))["micro_image"] == "/images/micro.qcow2"
    assert exec_argv(access, ["id"]) == ["nsenter", "--net=/run/netns/qrm-lab-lab", "--", "id"]


def test_the_newest_kernel_is_taken_by_its_numbers(tmp_path: Path) -> None:
    for release in ("6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.1.0-99-amd64"):
        (tmp_path / "boot").mkdir(exist_ok=True)
        (tmp_path / "boot" / f"vmlinuz-{release}").touch()
        (tmp_path / "modules" / release).mkdir(parents=True)
        (tmp_path / "modules" / release / "modules.dep").touch()
    assert find_kernel(tmp_path / "boot", tmp_path / "modules").release == "6.1.0-10-cloud-amd64"
    assert sort_release("6.1.0-10-x") > sort_release("6.1.0-9-x")


def test_no_kernel_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="apt-get install linux-image-cloud-amd64"):
        find_kernel(tmp_path, tmp_path)


def test_the_key_changes_with_every_input(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1", encoding="ascii")
    first = cache.make_key(tmp_path, {"v": "1"})
    assert first == cache.make_key(tmp_path, {"v": "1"})
    assert first != cache.make_key(tmp_path, {"v": "2"})
    (tmp_path / "a").rename(tmp_path / "b")
    assert first != cache.make_key(tmp_path, {"v": "1"})


def test_a_build_that_fails_leaves_nothing_and_a_good_one_is_kept(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half").touch()
        raise ValueError

    def succeed(target: Path) -> None:
        (target / "whole").touch()

    with pytest.raises(ValueError):  # noqa: PT011
        cache.fetch(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    (tmp_path / "building-of-a-dead-one").mkdir()
    directory = cache.fetch(tmp_path, "key", succeed)
    assert [path.name for path in directory.iterdir()] == ["whole"]
    assert cache.fetch(tmp_path, "key", fail) == directory
    assert not (tmp_path / "building-of-a-dead-one").exists()


def test_waiting_returns_the_value_or_names_what_did_not_come() -> None:
    assert wait_until(lambda: "value") == "value"
    with pytest.raises(TimeoutError, match="in vain for godot"):
        wait_until(lambda: 0, timeout=0.01, what="godot")


def test_a_need_says_what_is_missing() -> None:
    assert find_missing("iso") in {"", "programs are missing: genisoimage"}
