"""What the micro image reads out of a NoCloud seed: every form that a YAML writer may choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qrmd.deployment.seed import build_seed, hash_password
from qrmd.process import Completed, run
from qrmd.testing.images.tree import SOURCES
from qrmd.testing.needs import require

require("busybox")

HASH = "$6$rounds=5000$Ab/.9$" + "x" * 86
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvbmcgZW5vdWdoIHRvIGJlIGZvbGRlZCBieSBhIHdyaXRlcg== somebody@a-desk"
USER_DATA: dict[str, Any] = {
    "hostname": "web-1",
    "ssh_authorized_keys": [KEY],
    "chpasswd": {"expire": False, "users": [{"name": "root", "password": HASH, "type": "hash"}]},
    "ssh_pwauth": True,
    "disable_root": False,
}


def read(directory: Path, user_data: str, meta_data: str = "instance-id: i-1\n") -> Completed:
    (directory / "meta-data").write_text(meta_data, encoding="utf-8")
    (directory / "user-data").write_text(user_data, encoding="utf-8")
    scripts = SOURCES / "rootfs/disk/lib/qrm"
    programs = ["-f", str(scripts / "yaml.awk"), "-f", str(scripts / "orders.awk")]
    return run(["busybox", "awk", *programs, "meta-data", "user-data"], cwd=directory, timeout=10, check=False)


def read_orders(directory: Path, user_data: str, meta_data: str = "instance-id: i-1\n") -> list[tuple[str, ...]]:
    done = read(directory, user_data, meta_data)
    assert (done.returncode, done.stderr) == (0, "")
    return sorted(tuple(line.split("\t")) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump(USER_DATA),
        yaml.safe_dump(USER_DATA, default_flow_style=True),
        yaml.safe_dump(USER_DATA, default_style='"', width=1000).replace("!!bool ", ""),
        yaml.safe_dump(USER_DATA, default_style="'").replace("!!bool ", ""),
        yaml.safe_dump(USER_DATA, indent=4, sort_keys=False),
        json.dumps(USER_DATA),
        json.dumps(USER_DATA, indent=2),
    ],
    ids=["block", "flow", "double", "single", "wide", "json", "json-lines"],
)
def test_every_way_of_writing_means_the_same(tmp_path: Path, text: str) -> None:
    assert read_orders(tmp_path, f"#cloud-config\n{text}") == [
        ("hash", "root", HASH),
        ("hostname", "-", "web-1"),
        ("instance", "-", "i-1"),
        ("key", "root", KEY),
    ]


def test_the_older_password_list_and_plain_passwords(tmp_path: Path) -> None:
    text = f"#cloud-config\nchpasswd:\n  expire: false\n  list: |\n    root:{HASH}\n    ann:a b:c\n"
    assert read_orders(tmp_path, text) == [
        ("hash", "root", HASH),
        ("hostname", "-", "micro"),
        ("instance", "-", "i-1"),
        ("password", "ann", "a b:c"),
        ("user", "ann", ""),
    ]


def test_ordinary_users_with_hash_and_keys(tmp_path: Path) -> None:
    users = ["default", {"name": "ann", "hashed_passwd": HASH, "lock_passwd": False, "ssh_authorized_keys": [KEY]}]
    orders = read_orders(tmp_path, "#cloud-config\n" + yaml.safe_dump({"users": users}))
    assert ("user", "ann", "") in orders
    assert ("hash", "ann", HASH) in orders
    assert ("key", "ann", KEY) in orders


def test_meta_data_gives_name_and_keys(tmp_path: Path) -> None:
    meta = json.dumps({"instance-id": "i-2", "local-hostname": "db", "public-keys": [KEY]})
    assert read_orders(tmp_path, "#cloud-config\n", meta) == [
        ("hostname", "-", "db"),
        ("instance", "-", "i-2"),
        ("key", "root", KEY),
    ]


def test_refused_logins_become_options_of_the_ssh_server(tmp_path: Path) -> None:
    orders = read_orders(tmp_path, "#cloud-config\nssh_pwauth: false\ndisable_root: true\n")
    assert [order[2] for order in orders if order[0] == "ssh-option"] == ["-s", "-w"]


def test_what_it_does_not_know_is_named_and_ignored(tmp_path: Path) -> None:
    assert ("ignored", "-", "packages.0") in read_orders(tmp_path, "#cloud-config\npackages: [vim]\n")


@pytest.mark.parametrize(
    ("user_data", "why"),
    [
        ("hostname: x\n", "#cloud-config"),
        ("#cloud-config\nhostname: [x\n", "not closed"),
        ("#cloud-config\nhostname: a;b\n", "not a host name"),
        ("#cloud-config\nhostname: &a x\n", "unknown kind"),
        ("#cloud-config\nhostname\n", "neither a key nor a list item"),
        ("#cloud-config\n\thostname: x\n", "a tab"),
        ("#cloud-config\nhostname: a\n b: c\n", "not a host name"),
        ("#cloud-config\nssh_pwauth: maybe\n", "neither true nor false"),
        ("#cloud-config\nssh_authorized_keys: ['no key']\n", "not an ssh key"),
        ("#cloud-config\nchpasswd: {list: ['../x:y']}\n", "not a user name"),
        ("#cloud-config\nchpasswd: {users: [{name: root, type: RANDOM}]}\n", "no password"),
        ('#cloud-config\nchpasswd: {users: [{name: root, type: hash, password: "$6$a:b"}]}\n', "not a password hash"),
        ('#cloud-config\nhostname: "a" b\n', "text after the value"),
    ],
)
def test_a_seed_that_can_not_be_read_gives_no_orders(tmp_path: Path, user_data: str, why: str) -> None:
    done = read(tmp_path, user_data)
    assert done.returncode == 1
    assert why in done.stderr
    assert done.stdout == ""


def test_a_seed_without_instance_id_is_refused(tmp_path: Path) -> None:
    assert "no instance-id" in read(tmp_path, "#cloud-config\n", "local-hostname: x\n").stderr


def test_what_the_daemon_writes_is_yaml_and_means_that(tmp_path: Path) -> None:
    keys = [f'{KEY} "quoted" \\ back: # no comment {{}}', f"{KEY} two"]
    seed = build_seed(instance="i-1", hostname="web-1", login="root", ssh_keys=keys, password="secret", salt="s")
    told = yaml.safe_load(seed["user-data"])
    assert seed["user-data"].startswith("#cloud-config\n")
    assert told["ssh_authorized_keys"] == keys
    assert told["chpasswd"]["users"][0]["password"] == hash_password("secret", "s")
    assert yaml.safe_load(seed["meta-data"]) == {"instance-id": "i-1", "local-hostname": "web-1"}
    assert read_orders(tmp_path, seed["user-data"], seed["meta-data"]) == read_orders(
        tmp_path, "#cloud-config\n" + yaml.safe_dump(told), yaml.safe_dump(yaml.safe_load(seed["meta-data"]))
    )
