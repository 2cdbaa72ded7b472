"""The lab on the real machine: namespaces, libvirtd, QEMU, and nothing left afterwards."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.errors import PreconditionFailed
from qrmd.process import ProcessFailed, run, spawn
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

require("libvirt", "lab")

import libvirt  # noqa: E402

from qrmd.testing.images.packages import find_kernel  # noqa: E402
from qrmd.testing.lab import LabAccess, exec_argv, hypervisor, lab, preconditions, probe, smtp, state  # noqa: E402
from qrmd.testing.lab.processes import Tracked, find, is_alive, send, track  # noqa: E402

_numbers = itertools.count()


@pytest.fixture
def name() -> Iterator[str]:
    own = f"t{os.getpid()}-{next(_numbers)}"
    yield own
    lab.down(own)


@pytest.fixture
def access(name: str) -> LabAccess:
    return lab.up(name)


def start_guest(access: LabAccess, name: str = "idle") -> Tracked:
    """A guest without a disk: enough of a QEMU to be found, kept or killed."""
    xml = (
        f"<domain type='{access.domain_type}'><name>{name}</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<devices><interface type='bridge'><source bridge='{access.bridge}'/><model type='virtio'/></interface>"
        "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
    )
    connection = libvirt.open(access.libvirt_uri)
    try:
        connection.createXML(xml)
    finally:
        connection.close()
    guests = [process for process in find(access.name) if b"qemu-system" in command_of(process)]
    assert len(guests) == 1
    return guests[0]


def command_of(process: Tracked) -> bytes:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes()


def list_links(argv: list[str]) -> set[str]:
    return {link["ifname"] for link in json.loads(run(argv, timeout=10).stdout)}


def test_a_lab_has_its_own_network_and_hypervisor(access: LabAccess) -> None:
    assert {"lo", access.bridge} <= list_links(exec_argv(access, ["ip", "-json", "link"]))
    text = run(exec_argv(access, ["ip", "-json", "address", "show", access.bridge]), timeout=10).stdout
    assert json.loads(text)[0]["addr_info"][0]["local"] == access.address
    connection = libvirt.open(access.libvirt_uri)
    assert connection.getHostname() == access.name
    assert connection.listAllDomains() == []
    connection.close()
    assert access.micro_image.exists()
    assert access.micro_image.with_suffix(".raw").exists()
    assert access.mail_dir.is_dir()


def test_up_is_idempotent_and_so_is_down(access: LabAccess) -> None:
    before = sorted(find(access.name), key=lambda process: process.pid)
    assert lab.up(access.name) == access
    assert sorted(find(access.name), key=lambda process: process.pid) == before
    assert lab.status(access.name).state == "up"
    lab.down(access.name)
    lab.down(access.name)
    assert lab.sweep(access.name) == []
    assert lab.status(access.name).state == "down"
    assert access.name not in state.list_names()


def test_labs_do_not_meet(access: LabAccess) -> None:
    second = f"{access.name}-b"
    try:
        other = lab.up(second)
        assert other.address == access.address
        start_guest(access)
        connection = libvirt.open(other.libvirt_uri)
        assert connection.listAllDomains() == []
        connection.close()
    finally:
        lab.down(second)
    assert hypervisor.answers(access)


def test_the_machine_keeps_its_own_things(name: str) -> None:
    def look() -> tuple[bool, bytes, bytes, bool]:
        libvirt_settings = Path("/etc/libvirt/libvirtd.conf").read_bytes()
        own_socket = Path("/run/libvirt/libvirt-sock").exists()
        bridge = "br0" in list_links(["ip", "-json", "link"])
        return bridge, Path("/etc/hosts").read_bytes(), libvirt_settings, own_socket

    before = look()
    access = lab.up(name)
    start_guest(access)
    assert look() == before
    lab.down(name)
    assert look() == before


def test_a_machine_that_does_not_know_the_user_of_libvirt_is_enough(name: str, tmp_path: Path) -> None:
    """The account comes with libvirt-daemon-system, which starts services, and which we do not install."""
    mounts = []
    for path in (Path("/etc/passwd"), Path("/etc/group")):
        without = [line for line in path.read_text().splitlines() if not line.startswith("libvirt-qemu:")]
        (tmp_path / path.name).write_text("\n".join(without) + "\n")
        mounts.append(f"mount --bind {tmp_path / path.name} {path}")
    script = " && ".join([*mounts, "! getent passwd libvirt-qemu", 'exec "$@"'])
    alone = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"]
    run([*alone, *module_argv("qrmd.testing.lab", "up", "--name", name)], timeout=180, env=module_environment())
    assert lab.status(name).state == "up"


def test_down_ends_everything_that_lives_in_it(access: LabAccess) -> None:
    guest = start_guest(access)
    stranger = spawn(exec_argv(access, ["sleep", "1000"]), pdeathsig=False)
    wait_until(lambda: any(process.pid == stranger.pid for process in find(access.name)))
    lab.down(access.name)
    assert not is_alive(guest)
    assert stranger.wait(5) == -signal.SIGKILL
    assert lab.sweep(access.name) == []


def test_the_sweep_finds_a_planted_process(access: LabAccess) -> None:
    planted = spawn(exec_argv(access, ["sleep", "1000"]))
    wait_until(lambda: any("sleep 1000" in thing.what for thing in lab.sweep(access.name)), what="the planted one")
    kinds = {thing.kind for thing in lab.sweep(access.name)}
    assert kinds == {"process", "namespace", "directory"}
    planted.kill()


def test_guests_outlive_a_killed_libvirtd_and_are_found_again(access: LabAccess) -> None:
    guest = start_guest(access)
    hypervisor.kill_libvirtd(access)
    assert hypervisor.find_libvirtd(access) is None
    assert lab.status(access.name).state == "broken"
    assert is_alive(guest)
    hypervisor.restart_libvirtd(access)
    connection = libvirt.open(access.libvirt_uri)
    connection.lookupByName("idle").destroy()
    connection.close()
    assert not is_alive(guest)


def test_a_frozen_libvirtd_takes_connections_and_never_answers(access: LabAccess) -> None:
    hypervisor.freeze_libvirtd(access)
    assert not hypervisor.answers(access, timeout=0.5)
    hypervisor.thaw_libvirtd(access)
    assert hypervisor.answers(access)


def test_down_needs_no_libvirtd(access: LabAccess) -> None:
    guest = start_guest(access)
    hypervisor.kill_libvirtd(access)
    lab.down(access.name)
    assert not is_alive(guest)
    assert lab.sweep(access.name) == []


@pytest.mark.parametrize("victims", ["all", "host"])
def test_up_cleans_what_a_crash_left(access: LabAccess, victims: str) -> None:
    guest = start_guest(access)
    host = hypervisor.find_host(access)
    assert host is not None
    for process in find(access.name) if victims == "all" else [host]:
        send(process, signal.SIGKILL)
    wait_until(lambda: not is_alive(host), what="the end of the host")
    again = lab.up(access.name)
    assert not is_alive(guest)
    assert hypervisor.answers(again)
    connection = libvirt.open(again.libvirt_uri)
    assert connection.listAllDomains() == []
    connection.close()


def test_a_lab_whose_namespace_lost_its_name_is_removed_all_the_same(access: LabAccess) -> None:
    known = state.load(access.name)
    assert known is not None
    run(["ip", "netns", "delete", access.namespace], timeout=10)
    assert lab.status(access.name).state == "broken"
    lab.down(access.name)
    assert not any(is_alive(process) for process in known.processes.values())
    assert lab.sweep(access.name) == []


def test_up_is_not_deceived_by_what_a_reboot_left(access: LabAccess) -> None:
    known = state.load(access.name)
    assert known is not None
    for process in find(access.name):
        send(process, signal.SIGKILL)
    wait_until(lambda: not find(access.name), what="the end of the lab")
    run(["umount", f"/run/netns/{access.namespace}"], timeout=10)  # a plain file stays, as after a reboot
    bystander = spawn(["sleep", "1000"])
    recycled = {role: Tracked(bystander.pid, 1) for role in known.processes}
    state.save(dataclasses.replace(known, boot_id="of an earlier boot", processes=recycled))
    lab.up(access.name)
    assert bystander.poll() is None
    assert hypervisor.answers(access)
    bystander.kill()


def test_an_up_that_is_killed_in_the_middle_is_made_good(name: str) -> None:
    half = spawn(module_argv("qrmd.testing.lab", "up", "--name", name), env=module_environment())
    wait_until(lambda: lab.sweep(name), timeout=30, what="the first part of the lab")
    half.kill()
    access = lab.up(name)
    assert hypervisor.answers(access)
    lab.down(name)
    assert lab.sweep(name) == []


def test_a_recycled_number_is_never_killed() -> None:
    bystander = spawn(["sleep", "1000"])
    real = track(bystander.pid)
    assert real is not None
    assert not send(Tracked(bystander.pid, real.started - 1), signal.SIGKILL)
    assert bystander.poll() is None
    assert send(real, signal.SIGKILL)
    bystander.wait(5)
    assert not send(real, signal.SIGKILL)


MAIL = """
import smtplib, sys
client = smtplib.SMTP({host!r}, {port}, timeout={timeout})
client.sendmail("qrmd@lab", ["user@lab"], "Subject: hello\\r\\n\\r\\nthe body\\r\\n")
client.quit()
"""


def send_mail(access: LabAccess, timeout: float = 10) -> None:
    code = MAIL.format(host=access.smtp_host, port=access.smtp_port, timeout=timeout)
    run(exec_argv(access, [sys.executable, "-c", code]), timeout=timeout + 10)


def test_mails_become_files_and_the_server_can_be_taken_away(access: LabAccess) -> None:
    send_mail(access)
    mails = list(access.mail_dir.glob("*.eml"))
    assert len(mails) == 1
    text = mails[0].read_text(encoding="utf-8")
    assert "X-Envelope-To: user@lab" in text
    assert text.endswith("the body\n")
    smtp.set_mode(access, "refuse")
    with pytest.raises(ProcessFailed) as caught:
        send_mail(access)
    assert "451" in caught.value.stderr
    smtp.set_mode(access, "mute")
    with pytest.raises(ProcessFailed) as caught:
        send_mail(access, timeout=0.5)
    assert "timed out" in caught.value.stderr
    smtp.set_mode(access, "accept")
    send_mail(access)
    assert len(list(access.mail_dir.glob("*.eml"))) == 2


def test_the_probe_knows_a_guest_that_speaks_from_one_that_does_not() -> None:
    assert probe.boots(find_kernel(), accelerator="tcg", limit=60)
    assert not probe.boots(find_kernel(), accelerator="no-such-accelerator")


def test_each_missing_precondition_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(preconditions.PROGRAMS, "no-such-program", "some-package")
    monkeypatch.setattr(preconditions, "MIN_FREE", 2**60)
    with pytest.raises(PreconditionFailed) as caught:
        preconditions.check()
    lines = str(caught.value).splitlines()
    assert "programs are missing (no-such-program): apt-get install some-package" in lines
    assert any("MiB are free" in line for line in lines)


def test_it_says_that_it_needs_root() -> None:
    os.seteuid(65534)
    try:
        assert [str(fault) for fault in preconditions.find_faults()] == ["a lab needs root: run it with sudo"]
    finally:
        os.seteuid(0)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"port {port} is in use" in str(preconditions.find_taken_ports([port])[0])
    assert preconditions.find_taken_ports([port]) == []


def test_the_command_line_speaks_json_and_status(name: str) -> None:
    def ask(verb: str) -> tuple[int, dict[str, object]]:
        line = module_argv("qrmd.testing.lab", verb, "--name", name, "-o", "json")
        done = run(line, env=module_environment(), timeout=60, check=False)
        return done.returncode, json.loads(done.stdout)

    assert ask("status")[0] == 1
    code, access = ask("up")
    assert (code, access["name"], access["bridge"]) == (0, name, "br0")
    assert ask("status")[0] == 0
    assert ask("down") == (0, {"name": name, "state": "down", "leftovers": []})
