"""Backups: made while the daemon runs, verified, and put back while it does not."""

from __future__ import annotations

import os
import shutil
import sys
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from qrmd import __version__
from qrmd.process import Completed, run
from qrmd.store import backup
from qrmd.testing.edge import EdgeServer, edge_server


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running


def _restore(*words: str | Path) -> Completed:
    command = [sys.executable, "-m", "qrmd.cli.main", "restore", *map(str, words)]
    return run(command, timeout=60, check=False, env=dict(os.environ))


def test_a_backup_is_private_complete_and_verified(server: EdgeServer) -> None:
    told = server.proxy().qrm.backup("first.sqlite", {"reason": "before the upgrade"})
    path = Path(told["path"])
    assert path == server.directory / "backups" / "first.sqlite"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert told["usable"] is True
    assert told["rows"]["users"] == 4
    assert [each.name for each in path.parent.iterdir()] == ["first.sqlite"]
    done = _restore("--verify", path, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert '"usable": true' in done.stdout
    assert server.proxy().event.list({"where": {"kind": "qrm.backed_up"}})[0]["reason"] == "before the upgrade"


@pytest.mark.parametrize("name", ["../x", "/etc/x", ".hidden", "a/b", "a\nb", "x" * 101])
def test_a_backup_stays_in_its_directory(server: EdgeServer, name: str) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        server.proxy().qrm.backup(name)
    assert caught.value.faultCode == 400


def test_a_backup_never_overwrites(server: EdgeServer) -> None:
    server.proxy().qrm.backup("one")
    with pytest.raises(xmlrpc.client.Fault, match="exists") as caught:
        server.proxy().qrm.backup("one")
    assert caught.value.faultCode == 409


def test_damage_is_found(server: EdgeServer, tmp_path: Path) -> None:
    content = bytearray(Path(server.proxy().qrm.backup("one")["path"]).read_bytes())
    for name, damaged in (
        ("cut", content[: len(content) // 2]),
        ("overwritten", content[:8192] + b"\xff" * 16_384 + content[24_576:]),
        ("empty", b""),
        ("text", b"this is no database\n" * 100),
    ):
        path = tmp_path / name
        path.write_bytes(damaged)
        done = _restore("--verify", path)
        assert done.returncode == 2, (name, done.stdout)
        assert "can't be used" in done.stderr


def test_restore_refuses_while_the_daemon_runs_and_keeps_the_old(server: EdgeServer) -> None:
    proxy = server.proxy()
    copy = proxy.qrm.backup("one")["path"]
    proxy.user.remove("readonly")
    refused = _restore(copy, "--database", server.database)
    assert refused.returncode == 5
    assert "stop the daemon" in refused.stderr
    assert proxy.qrm.version()["interface"] == 1
    server.process.terminate()
    done = _restore(copy, "--database", server.database)
    assert done.returncode == 0, done.stderr
    assert backup.verify(server.database).rows["users"] == 4
    aside = next(server.directory.glob("qrmd.sqlite.replaced-*"))
    assert backup.verify(aside).rows["users"] == 3
    assert server.database.stat().st_mode & 0o777 == 0o600


def _newer(server: EdgeServer, tmp_path: Path, owner: str, version: str) -> Path:
    """A copy that a later release of the core or of a plugin has worked on."""
    path = tmp_path / f"{owner}.sqlite"
    shutil.copyfile(server.proxy().qrm.backup(f"of-{owner}")["path"], path)
    database = Database(path)
    add_migration(database, owner, "m999_of_tomorrow")
    if version:
        database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (f"version:{owner}", version))
    database.conn.commit()
    database.close()
    return path


def add_migration(database: Database, owner: str, name: str) -> None:
    """As a later release applies it."""
    later = Migrations(owner)
    later(name=name)(lambda _db: None)
    later.apply(database)


@pytest.mark.parametrize(("owner", "what"), [("core", "qrmd"), ("cloud", "plugin cloud")])
@pytest.mark.parametrize("version", ["9.9.9", ""])
def test_a_backup_of_a_newer_release_is_refused(
    server: EdgeServer, tmp_path: Path, owner: str, what: str, version: str
) -> None:
    path = _newer(server, tmp_path, owner, version)
    told = f"{what} was of version {version or 'unknown'} (m999_of_tomorrow), here it is of version {__version__} (m0"
    before = server.database.stat().st_ino
    for done in (_restore("--verify", path), _restore(path, "--database", server.database)):
        assert done.returncode == 2, done.stdout
        assert told in " ".join(done.stderr.split()), done.stderr
        assert "upgrade it first" in " ".join(done.stderr.split())
    assert server.database.stat().st_ino == before


def test_a_backup_with_data_of_a_plugin_that_is_not_here_is_usable_and_says_so(
    server: EdgeServer, tmp_path: Path
) -> None:
    path = _newer(server, tmp_path, "elsewhere", "1.2.3")
    done = _restore("--verify", path, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "plugin elsewhere of version 1.2.3 (m999_of_tomorrow) is not installed here" in done.stdout
