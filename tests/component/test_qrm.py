"""The command line against a running server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd import process
from qrmd.process import Completed
from qrmd.testing.edge import EdgeServer, edge_server
from qrmd.testing.needs import require


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def _qrm(home: Path, *words: str, said: str = "", **env: str) -> Completed:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QRM_", "XDG_"))}
    command = [sys.executable, "-m", "qrmd.cli.main", *words]
    return process.run(command, timeout=60, check=False, input=said, env={**kept, "HOME": str(home), **env})


def _log_in(server: EdgeServer, home: Path, name: str = "admin") -> None:
    words = ("login", server.url, "--user", name, "--fingerprint", server.fingerprint)
    done = _qrm(home, *words, said=server.secrets[name] + "\n")
    assert done.returncode == 0, done.stderr


def test_login_pins_the_certificate_and_keeps_a_private_token(server: EdgeServer, home: Path) -> None:
    _log_in(server, home)
    directory = home / ".config" / "qrmd"
    assert {each.name: each.stat().st_mode & 0o777 for each in directory.iterdir()} == {
        "config.toml": 0o600,
        "default.pem": 0o600,
    }
    assert (directory / "default.pem").read_text().strip() == server.ca_file.read_text().strip()
    assert server.secrets["admin"] not in (directory / "config.toml").read_text()
    assert json.loads(_qrm(home, "-o", "json", "version").stdout)["interface"] == 1


def test_another_certificate_is_not_believed(server: EdgeServer, home: Path) -> None:
    wrong = ":".join(["00"] * 32)
    done = _qrm(home, "login", server.url, "--fingerprint", wrong, "--user", "admin", said="x\n")
    assert done.returncode == 69
    assert server.fingerprint in done.stderr
    plain = _qrm(home, "version", QRM_URL=server.url, QRM_TOKEN="qrm_x")
    assert plain.returncode == 69
    assert "certificate" in plain.stderr


def test_a_kept_token_goes_to_its_own_server_only(server: EdgeServer, home: Path) -> None:
    _log_in(server, home)
    done = _qrm(home, "version", QRM_URL=server.url + "/", QRM_CA_FILE=str(server.ca_file))
    assert done.returncode == 4


def test_users_from_cradle_to_grave(server: EdgeServer, home: Path) -> None:
    _log_in(server, home)
    added = _qrm(home, "user", "add", "zoe", "operator", "--reason", "she's new", said="a long password\n")
    assert added.returncode == 0, added.stderr
    rows = json.loads(_qrm(home, "user", "list", "-o", "json", "--where", "name=zoe").stdout)
    assert [each["role"] for each in rows] == ["operator"]
    assert _qrm(home, "user", "list", "--fields", "id,name", "-o", "csv").stdout.startswith("id,name\n1,admin\n")
    assert "zoe" in _qrm(home, "user", "list").stdout
    assert "name: zoe" in _qrm(home, "user", "list", "-o", "yaml").stdout
    rehearsed = _qrm(home, "user", "remove", "zoe", "--dry-run", "-o", "json")
    assert json.loads(rehearsed.stdout)["dry_run"] is True
    assert _qrm(home, "user", "set-role", "zoe", "readonly").returncode == 0
    assert _qrm(home, "user", "remove", "zoe").returncode == 0
    assert _qrm(home, "user", "remove", "zoe").returncode == 3


def test_exit_codes(server: EdgeServer, home: Path) -> None:
    assert _qrm(home, "version").returncode == 78
    _log_in(server, home, "readonly")
    found = {
        words: _qrm(home, *words).returncode
        for words in (("version",), ("nonsense",), ("user", "list"), ("event", "list", "--limit", "many"),
                      ("event", "list", "--limit", "5000"), ("--no-such",), ("settings", "get", "no.such"))
    }  # fmt: skip
    assert list(found.values()) == [0, 2, 2, 2, 2, 2, 3]
    _log_in(server, home)
    assert _qrm(home, "user", "add", "admin", "readonly", said="a long password\n").returncode == 5
    assert _qrm(home, "version", QRM_TOKEN="qrm_" + "x" * 43).returncode == 4
    assert _qrm(home, "version", QRM_URL="https://127.0.0.1:1").returncode == 69
    assert _qrm(home, "version", QRM_URL="http://example.org").returncode == 78


def test_settings_by_pairs_and_secrets_by_standard_input(server: EdgeServer, home: Path) -> None:
    _log_in(server, home)
    done = _qrm(home, "settings", "set", "smtp.port=2525", "smtp.password=-", said="hush-hush\n")
    assert done.returncode == 0, done.stderr
    assert "hush" not in done.stdout
    assert _qrm(home, "settings", "get", "smtp.port").stdout == "2525\n"


def test_help_of_each_command_is_made_from_the_server(server: EdgeServer, home: Path) -> None:
    _log_in(server, home)
    told = _qrm(home, "token", "create", "--help").stdout
    assert "NAME [EXPIRES]" in told
    assert "--reason" in told
    assert "shown this once" in told
    assert "reset-password" in _qrm(home, "user", "--help").stdout
    without = _qrm(home, "--help", QRM_URL="https://127.0.0.1:1")
    assert without.returncode == 0
    assert "login" in without.stdout


def test_man_pages_and_completion(server: EdgeServer, home: Path, tmp_path: Path) -> None:
    _log_in(server, home)
    assert _qrm(home, "manual", str(tmp_path / "man")).returncode == 0
    pages = {each.name for each in (tmp_path / "man").iterdir()}
    assert {"qrm.1", "qrm-user.1", "qrm-user-add.1", "qrm-login.1", "qrm-lab-up.1"} <= pages
    assert (tmp_path / "man" / "qrm-user-add.1").read_text().startswith('.TH "QRM-USER-ADD" "1"')
    assert "_QRM_COMPLETE" in _qrm(home, "completion", "bash").stdout
    completed = _qrm(home, _QRM_COMPLETE="bash_complete", COMP_WORDS="qrm user ", COMP_CWORD="2")
    assert "plain,set-role" in completed.stdout


def test_it_starts_without_the_daemons_libraries(server: EdgeServer, home: Path) -> None:
    _log_in(server, home)
    program = (
        "import sys; from qrmd.cli import main; status = main.run(['version']);"
        "print([name for name in ('twisted', 'rich', 'sqlite_utils', 'cryptography', 'yaml') if name in sys.modules])"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QRM_")}
    done = process.run([sys.executable, "-c", program], timeout=60, env={**kept, "HOME": str(home)})
    assert done.stdout.splitlines()[-1] == "[]"


def test_check_config_names_file_and_key(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "qrmd.toml"
    file.write_text("[server]\nlog_levle = 'info'\n")
    done = _qrm(home, "check-config", str(file))
    assert done.returncode == 78
    assert "log_levle" in done.stderr
    assert str(file) in done.stderr
    file.write_text("[server]\nlog_level = 'info'\n")
    assert _qrm(home, "check-config", str(file)).returncode == 0


def test_a_reset_needs_its_word_and_a_database(home: Path, tmp_path: Path) -> None:
    assert _qrm(home, "user", "reset-password", "admin").returncode == 2
    nowhere = str(tmp_path / "none.sqlite")
    assert _qrm(home, "user", "reset-password", "admin", "--local", "--database", nowhere).returncode == 3


def test_a_reset_is_for_root_only(server: EdgeServer, home: Path) -> None:
    require("root")
    words = ("user", "reset-password", "admin", "--local", "--generate", "--database", str(server.database))
    nobody = ["unshare", "--user", sys.executable, "-m", "qrmd.cli.main", *words]  # an id that is not mapped
    refused = process.run(nobody, timeout=60, check=False, env={**os.environ, "HOME": str(home)})
    assert refused.returncode == 4
    assert "only root" in refused.stderr
    assert server.proxy().qrm.version()
    reset = _qrm(home, *words)
    assert reset.returncode == 0, reset.stderr
    server.secrets["admin"] = reset.stdout.split()[-1]
    assert server.proxy().user.list()[0]["name"] == "admin"
