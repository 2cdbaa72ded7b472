"""Which types there are is told by those who serve them: to programs, in the command line, in the web's forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import password_of, running_sites
from qrmd.testing.web import web_client

DIR = r"<option[^>]*>dir</option>"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("types")) as running:
        yield running


def choices(daemon: Daemon, verb: str) -> list[str]:
    described = next(each for each in daemon.call("system.describe") if each["name"] == verb)
    fields: list[dict[str, Any]] = described["parameters"][0]["fields"]
    return list(next(each for each in fields if each["name"] == "type")["choices"])


def test_types_come_and_go_with_their_plugins(daemon: Daemon) -> None:
    assert daemon.call("qrm.types") == {"virtualization": ["simulated-vm"], "deployment": ["simulated"]}
    daemon.run_plugins("dir-storage")
    assert daemon.call("qrm.types")["deployment"] == ["dir", "simulated"]
    assert choices(daemon, "storage.add") == ["dir", "simulated"]
    assert choices(daemon, "host.add") == ["simulated-vm"]
    assert choices(daemon, "appliance.add") == ["any", "simulated-vm"]
    client = web_client(daemon)
    client.login("administrator", password_of("administrator"))
    assert re.search(DIR, client.get("/storages").text)
    assert "<option>simulated-vm</option>" in client.get("/hosts").text
    daemon.call("plugin.stop", "dir-storage")
    assert choices(daemon, "storage.add") == ["simulated"]
    assert not re.search(DIR, client.get("/storages").text)
