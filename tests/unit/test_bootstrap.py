"""tools/bootstrap: what is missing is said in one line, and nothing is done twice."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from qrmd.process import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module, working on a tree of its own."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools/bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build = tmp_path / "build"
    build.mkdir()
    places = {"TREE": tmp_path, "BUILD": build, "VENV": build / "venv", "LOG": build / "bootstrap.log"}
    for name, path in {**places, "STAMP": build / "venv/.made-from"}.items():
        monkeypatch.setattr(module, name, path)
    return module


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of stand-ins for Debian's programs, first on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    write(directory, "dpkg-query", "echo 'kmod installed'; echo 'gcc not-installed'")
    return directory


def write(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def refused(bootstrap: ModuleType, *packages: str) -> str:
    with pytest.raises(bootstrap.Unmet) as caught:
        bootstrap.install_packages(packages)
    return str(caught.value)


def test_what_is_installed_is_not_installed_again(bootstrap: ModuleType, programs: Path) -> None:
    write(programs, "apt-get", "exit 1")
    bootstrap.install_packages(["kmod"])
    assert not bootstrap.LOG.exists()


def test_only_what_is_missing_is_installed(
    bootstrap: ModuleType, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(programs, "apt-get", 'echo "$@"')
    bootstrap.install_packages(["kmod", "gcc"])
    log = bootstrap.LOG.read_text()
    assert "DPkg::Lock::Timeout" in log
    assert "install -y --no-install-recommends gcc\n" in log
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["bootstrap"] * 2


@pytest.mark.parametrize("script", ["echo 'W: Failed to fetch http://nowhere'", "exit 100"])
def test_a_source_that_does_not_answer_is_one_line(bootstrap: ModuleType, programs: Path, script: str) -> None:
    write(programs, "apt-get", script)
    said = refused(bootstrap, "gcc")
    assert "no package source answers: check /etc/apt/sources.list" in said
    assert "\n" not in said


def test_a_package_that_fails_is_one_line(bootstrap: ModuleType, programs: Path) -> None:
    write(programs, "apt-get", 'case "$*" in *install*) exit 100;; esac')
    said = refused(bootstrap, "gcc")
    assert "apt-get could not install them" in said
    assert str(bootstrap.LOG) in said


def test_a_full_disk_is_one_line(bootstrap: ModuleType, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "FREE_FOR_PACKAGES", 2**60)
    said = refused(bootstrap, "gcc")
    assert "MiB are free for /var/cache/apt: make " in said


def test_another_system_is_one_line(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "this is no Debian system" in refused(bootstrap, "gcc")


def test_no_python_with_venv_is_one_line(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST", (99, 0))
    with pytest.raises(bootstrap.Unmet, match=r"apt-get install python3 python3-venv"):
        bootstrap.find_python()


def test_an_index_that_does_not_answer_is_one_line(bootstrap: ModuleType) -> None:
    """The tree has no setup.cfg, so pip fails at once; the environment is not taken for a whole one."""
    (bootstrap.VENV / "bin").mkdir(parents=True)
    (bootstrap.VENV / "bin/python").symlink_to(sys.executable)
    with pytest.raises(bootstrap.Unmet, match="pip could not install them"):
        bootstrap.install_venv()
    assert not bootstrap.STAMP.exists()


def test_the_key_changes_with_each_plugin(bootstrap: ModuleType) -> None:
    (bootstrap.TREE / "setup.cfg").write_text("")
    before = bootstrap.venv_key()
    assert bootstrap.venv_key() == before
    plugin = bootstrap.TREE / "plugins/new"
    plugin.mkdir(parents=True)
    (plugin / "pyproject.toml").write_text("")
    assert bootstrap.venv_key() != before
    assert bootstrap.plugins() == [plugin]


def test_somebody_else_than_root_is_told_so() -> None:
    if os.geteuid() != 0:
        done = run([str(ROOT / "tools/bootstrap")], timeout=60, check=False)
    else:
        tree = Path(f"/var/tmp/qrmd-bootstrap-{os.getpid()}")  # noqa: S108 - where nobody can read, too
        shutil.copytree(ROOT / "tools", tree / "tools")
        tree.chmod(0o755)
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
        environment = {**os.environ, "PATH": "/usr/bin:/bin"}
        done = run([*nobody, str(tree / "tools/bootstrap")], timeout=60, check=False, env=environment)
        shutil.rmtree(tree)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "run it as root" in line] == [done.stderr.strip()]


def test_assets_are_what_package_json_names_where_the_daemon_has_them(
    bootstrap: ModuleType, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "package.json").write_text('{"assets": ["lib/dist/lib.js"]}')
    (tmp_path / "package-lock.json").write_text("{}")
    write(
        programs, "npm", "mkdir -p node_modules/lib/dist; echo called >> calls; echo new > node_modules/lib/dist/lib.js"
    )
    place = tmp_path / "qrmd/web/assets"
    place.mkdir(parents=True)
    (place / "old.js").write_text("of an earlier release")
    for _ in range(2):
        bootstrap.install_assets()
        assert {path.name: path.read_text() for path in place.iterdir()} == {"lib.js": "new\n"}
    assert (tmp_path / "calls").read_text() == "called\n"
    (place / "lib.js").unlink()
    bootstrap.install_assets()
    assert (place / "lib.js").exists()
