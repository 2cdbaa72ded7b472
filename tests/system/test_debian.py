"""A real Debian with cloud-init as an appliance: its user, its name, its disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qrmd.process import run
from qrmd.testing.datacentre import NETWORK, STORAGE, DataCentre
from qrmd.testing.images import debian
from qrmd.testing.lab import exec_argv
from qrmd.testing.needs import require

MEMORY_MB = 512
DISK_MB = 4096
LOOK = "hostname; id -un; sudo -n id -u; df --output=size -m / | tail -1; sudo cloud-init status --wait"


def test_cloud_init_applies_our_seed(make_centre: Callable[..., DataCentre], tmp_path: Path) -> None:
    require("debian", "ssh")
    image = debian.build()
    centre = make_centre()
    centre.build()
    brought = centre.daemon.state_dir / "import" / "debian.qcow2"
    brought.parent.mkdir(exist_ok=True)
    run(["cp", "--reflink=auto", str(image), str(brought)], timeout=300)
    key = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], timeout=30)
    spec = {"name": "debian", "storage": STORAGE, "path": str(brought), "default_user": "debian"}
    centre.daemon.finish("image.import", spec)
    appliance = centre.add_appliance(
        "web-deb",
        image="debian",
        memory_mb=MEMORY_MB,
        disk_mb=DISK_MB,
        networks=(NETWORK,),
        ssh_keys=[key.with_suffix(".pub").read_text(encoding="ascii").strip()],
    )
    centre.daemon.wait(centre.daemon.call("appliance.start", appliance), 900)
    address = centre.daemon.call("appliance.get", appliance)["nics"][0]["address"]
    name, user, root, size, status = log_in(centre, key, f"debian@{address}")
    assert (name, user, root) == ("web-deb", "debian", "0")
    assert DISK_MB * 0.9 < int(size) <= DISK_MB
    assert status == "status: done"
    centre.give_back(appliance)


def log_in(centre: DataCentre, key: Path, target: str) -> list[str]:
    """What the server says of itself, as a user with that key sees it."""
    settings = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    options = [word for setting in settings for word in ("-o", setting)]
    said = run(exec_argv(centre.access, ["ssh", "-i", str(key), *options, target, LOOK]), timeout=600).stdout
    return [line.strip() for line in said.splitlines() if line.strip(". \r")]
