"""What only a real host shows: the trial, the files, ssh, and one machine that somebody logs in to."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import libvirt
import pytest

from qrmd.api import Host, MachineState, StepFailed
from qrmd.libvirt import Connections, open_shelf
from qrmd.process import Process, run, spawn
from qrmd.testing.contracts.virtualization import INSTALLATION, OTHER_INSTALLATION
from qrmd.testing.lab import LabAccess
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until
from qrmd_kvm.config import Config
from qrmd_kvm.driver import KvmDriver
from qrmd_kvm.facts import read_facts
from qrmd_kvm.seed import read_seed
from qrmd_kvm.trial import NAME

from .conftest import Specs


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[tuple[int, Process]]:
    """A server that lets root in with the key ``key`` in the test's directory."""
    require("ssh")
    for name in ("hostkey", "key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], timeout=10)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": tmp_path / "hostkey", "PidFile": "none",
        "AuthorizedKeysFile": tmp_path / "key.pub", "StrictModes": "no", "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password", "UsePAM": "no",
    }  # fmt: skip
    config = tmp_path / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = spawn(["sshd", "-D", "-e", "-f", str(config)], log=tmp_path / "sshd.log")
    wait_until(lambda: _listens(port), what="sshd")
    yield port, server
    server.kill()


def _listens(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def _over_ssh(host: Host, access: LabAccess, port: int, directory: Path) -> Host:
    far = f"{access.state_dir}/libvirt-sock"
    options = f"socket={far}&keyfile={directory}/key&no_verify=1"
    return replace(host, uri=f"qemu+ssh://root@127.0.0.1:{port}/system?{options}")


def test_trial_decides_and_says_why(host: Host, access: LabAccess, config: Config, spec_factory: Specs) -> None:
    connections = Connections(config.open_seconds)
    with connections.call(host, "leave a file", config.change_seconds) as connection:
        killed = f"{NAME}{uuid4()}.log"
        open_shelf(connection, INSTALLATION, config.directory).write(killed, b"its daemon died in the middle")
    connections.close()
    driver = KvmDriver(INSTALLATION, replace(config, domain_type="auto"))
    assert [each.kind for each in driver.owned(host, INSTALLATION)] == ["console"]
    facts = driver.check(host)
    assert ("without KVM" in facts.version) == (access.domain_type == "qemu")
    assert list(driver.owned(host, INSTALLATION)) == []
    spec = spec_factory("web-1")
    driver.define(host, spec)
    connection = libvirt.open(access.libvirt_uri)
    assert f"<domain type='{access.domain_type}'" in connection.lookupByUUIDString(spec.uuid).XMLDesc()
    connection.close()
    driver.undefine(host, spec.uuid)
    driver.close()


def test_host_without_faults_has_no_problems(driver: KvmDriver, host: Host) -> None:
    facts = driver.check(host)
    assert facts.problems == ()
    assert facts.machine_uuid


def test_wrong_clock_is_reported(host: Host, config: Config) -> None:
    connections = Connections(config.open_seconds)
    with connections.call(host, "look", config.change_seconds) as connection:
        shelf = open_shelf(connection, INSTALLATION, config.directory)
        (problem,) = read_facts(connection, shelf, 5, "", lambda: time.time() + 3600).problems
    connections.close()
    assert "clock" in problem
    assert "3600" in problem


def test_missing_bridge_is_said(driver: KvmDriver, host: Host, spec_factory: Specs) -> None:
    spec = spec_factory("web-1")
    spec = replace(spec, nics=(replace(spec.nics[0], bridge="br-nowhere"),))
    driver.define(host, spec)
    with pytest.raises(StepFailed, match="create the bridge"):
        driver.power_on(host, spec.uuid)
    driver.undefine(host, spec.uuid)


def test_seed_is_private_whole_and_removed(
    driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs
) -> None:
    spec = spec_factory("web-1")
    driver.define(host, spec)
    driver.power_on(host, spec.uuid)
    (directory,) = (access.state_dir / "lib" / "qrmd").iterdir()
    files = {path.suffix: path for path in directory.iterdir()}
    assert set(files) == {".iso", ".log"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711
    assert read_seed(files[".iso"].read_bytes()) == dict(spec.seed)
    kinds = {found.kind for found in driver.owned(host, INSTALLATION)}
    assert kinds == {"domain", "seed", "console"}
    driver.power_off(host, spec.uuid)
    driver.undefine(host, spec.uuid)
    assert list(directory.iterdir()) == []


def test_half_made_seed_is_found_removed_and_mended(
    driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs
) -> None:
    spec = spec_factory("web-1")
    driver.define(host, spec)
    (seed,) = (access.state_dir / "lib" / "qrmd").glob("*/*.iso")
    os.truncate(seed, 1000)
    driver.define(host, spec)
    assert read_seed(seed.read_bytes()) == dict(spec.seed)
    connection = libvirt.open(access.libvirt_uri)
    connection.lookupByUUIDString(spec.uuid).undefine()
    connection.close()
    assert [(found.kind, found.external_id) for found in driver.owned(host, INSTALLATION)] == [("seed", spec.uuid)]
    driver.undefine(host, spec.uuid)
    assert list(driver.owned(host, INSTALLATION)) == []


def test_two_installations_on_one_host_do_not_meet(
    driver: KvmDriver, host: Host, config: Config, spec_factory: Specs
) -> None:
    neighbour = KvmDriver(OTHER_INSTALLATION, config)
    spec = spec_factory("web-1")
    driver.define(host, spec)
    assert list(neighbour.owned(host, OTHER_INSTALLATION)) == []
    assert list(neighbour.machines(host, OTHER_INSTALLATION)) == []
    driver.undefine(host, spec.uuid)
    neighbour.close()


def test_host_over_ssh(
    driver: KvmDriver,
    host: Host,
    access: LabAccess,
    spec_factory: Specs,
    sshd: tuple[int, Process],
    tmp_path: Path,
) -> None:
    far = _over_ssh(host, access, sshd[0], tmp_path)
    spec = spec_factory("web-1")
    assert driver.check(far).problems == ()
    driver.define(far, spec)
    driver.power_on(far, spec.uuid)
    assert driver.find(host, spec.uuid) == driver.find(far, spec.uuid)
    driver.abort(far)
    found = driver.find(far, spec.uuid)
    assert found is not None
    assert found.state is MachineState.RUNNING
    driver.power_off(far, spec.uuid)
    driver.undefine(far, spec.uuid)


def test_silent_ssh_is_bounded(host: Host, access: LabAccess, config: Config, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        far = _over_ssh(host, access, silent.getsockname()[1], tmp_path)
        driver = KvmDriver(INSTALLATION, config)
        began = time.monotonic()
        with pytest.raises(StepFailed, match="ssh"):
            driver.load(far)
        assert time.monotonic() - began < config.open_seconds + 2
        driver.close()


def test_ssh_without_a_key_says_so(
    host: Host, access: LabAccess, config: Config, sshd: tuple[int, Process], tmp_path: Path
) -> None:
    far = _over_ssh(host, access, sshd[0], tmp_path)
    far = replace(far, uri=far.uri.replace(f"{tmp_path}/key", f"{tmp_path}/hostkey"))
    driver = KvmDriver(INSTALLATION, config)
    with pytest.raises(StepFailed, match="Permission denied"):
        driver.load(far)
    driver.close()


def test_many_threads_share_a_host(driver: KvmDriver, host: Host, spec_factory: Specs) -> None:
    failures: list[BaseException] = []

    def live(number: int) -> None:
        spec = spec_factory(f"web-{number}")
        try:
            driver.define(host, spec)
            for _ in range(20):
                assert driver.find(host, spec.uuid) is not None
            driver.undefine(host, spec.uuid)
        except BaseException as error:  # noqa: BLE001 - it is shown below
            failures.append(error)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert list(driver.owned(host, INSTALLATION)) == []
