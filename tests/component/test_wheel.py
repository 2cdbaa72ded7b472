"""What is installed from a wheel: the web assets are in it, and without them pages can be read and forms be sent."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qrmd.process import run, spawn
from qrmd.testing.waiting import wait_until
from qrmd.testing.web import WebClient

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("qrmd", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the wheel of this tree was installed."""
    if not any((ROOT / "qrmd/web/assets").glob("*.js")):
        pytest.fail("web assets are not built: make assets")
    tree, wheels, found = (tmp_path_factory.mktemp(name) for name in ("tree", "wheels", "site"))
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree)
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(tree)], timeout=300)
    (wheel,) = wheels.glob("*.whl")
    run([*PIP, "install", "--no-deps", "--no-index", "--target", str(found), str(wheel)], timeout=300)
    return found


@contextmanager
def running(site: Path, directory: Path) -> Iterator[tuple[WebClient, str]]:
    """The daemon of that directory, and the first administrator's password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config, log = directory / "qrmd.toml", directory / "log"
    config.write_text(
        f'[server]\nstate_dir = "{directory}/state"\n[listen]\nadmin = "127.0.0.1:{port}"\nportal = ""\nboot = ""\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import qrmd; print(qrmd.__file__)"]
    assert run(where, timeout=60, env=environment, cwd=directory).stdout.startswith(str(site))
    line = [sys.executable, "-m", "qrmd", "--config", str(config)]
    daemon = spawn(line, log=log, env=environment, cwd=directory)
    try:

        def password() -> str:
            assert daemon.returncode is None, log.read_text()
            found = re.search(r"password: (\S+)", log.read_text())
            return found[1] if found else ""

        told = wait_until(password, timeout=120, what="the daemon")
        yield WebClient(port, directory / "state/tls/tls.crt"), told
    finally:
        daemon.terminate(grace=30.0)


def scripts(page: str) -> list[str]:
    return re.findall(r'<script src="(/static/[^"?]+)', page)


def test_an_installed_daemon_serves_the_assets(site: Path, tmp_path: Path) -> None:
    with running(site, tmp_path) as (client, _):
        page = client.get("/login").text
        assert scripts(page) == ["/static/htmx.min.js", "/static/qrmd.js"]
        address = re.findall(r'"(/static/htmx[^"]+)"', page)[0]
        answer = client.get(address)
        assert (answer.status, answer.header("content-type")) == (200, "text/javascript; charset=utf-8")
        assert answer.body == (ROOT / "qrmd/web/assets/htmx.min.js").read_bytes()
        assert "immutable" in answer.header("cache-control")


def test_without_assets_pages_are_read_and_forms_are_sent(site: Path, tmp_path: Path) -> None:
    bare = tmp_path / "site"
    shutil.copytree(site, bare, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    with running(bare, tmp_path) as (client, password):
        assert scripts(client.get("/login").text) == ["/static/qrmd.js"]
        assert client.get("/static/htmx.min.js").status == 404
        assert client.login("admin", password).status == 303
        for path in ("/", "/events", "/workflows", "/settings"):
            page = client.get(path)
            assert page.status == 200, path
            assert "htmx.min.js" not in page.text
        sent = client.submit("/settings", "save", {"group": "smtp", "smtp.host": "mail.example.org", "smtp.port": "25"})
        assert sent.status == 303, sent.text
        assert "mail.example.org" in client.get("/settings").text
