"""The pure parts of the command line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click
import pytest

from qrmd.cli import output, values, waiting
from qrmd.cli import profile as profiles
from qrmd.cli.commands import make_command
from qrmd.cli.connection import endpoint, exit_code_of
from qrmd.cli.output import printable
from qrmd.cli.profile import Profile
from qrmd.errors import ConfigInvalid

SPEC: dict[str, Any] = {
    "name": "spec", "type": "struct", "required": True, "help": "", "fields": [
        {"name": "name", "type": "string", "required": True, "help": ""},
        {"name": "uri", "type": "string", "required": True, "help": ""},
        {"name": "cpus", "type": "integer", "required": False, "help": "", "least": 1, "most": 64},
        {"name": "ha", "type": "boolean", "required": False, "help": ""},
        {"name": "networks", "type": "array", "items": "ref", "required": False, "help": ""},
        {"name": "wait", "type": "integer", "required": False, "help": "clashes with an option of ours"},
    ],
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "name": "options", "type": "struct", "required": False, "help": "", "fields": [
        {"name": "reason", "type": "string", "required": False, "help": ""},
        {"name": "dry_run", "type": "boolean", "required": False, "help": ""},
    ],
}  # fmt: skip


class _Sent(Exception):
    pass


class _Recorder:
    """Stands where the session is; what would be sent comes back as an exception."""

    form = "json"

    def connection(self) -> _Recorder:
        return self

    def call(self, method: str, *arguments: Any) -> None:
        raise _Sent([method, *arguments])


def _sent(words: list[str], *parameters: dict[str, Any]) -> list[Any]:
    told = {"name": "host.add", "help": "Add.", "changes": True, "roles": ["administrator"], "returns": "any",
            "parameters": list(parameters)}  # fmt: skip
    with pytest.raises(_Sent) as caught:
        make_command(told, "add").main(words, standalone_mode=False, obj=_Recorder())
    arguments: list[Any] = caught.value.args[0][1:]
    return arguments


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["a", "qemu:///system"], [{"name": "a", "uri": "qemu:///system"}]),
        (["a", "--uri", "x"], [{"name": "a", "uri": "x"}]),
        (["a", "x", "--cpus", "2", "--ha"], [{"name": "a", "uri": "x", "cpus": 2, "ha": True}]),
        (
            ["a", "x", "--networks", "1,lan", "--networks", "2"],
            [{"name": "a", "uri": "x", "networks": [1, "lan", 2]}],
        ),
        (["--spec", "name=a", "--spec", "cpus=3", "--spec", '{"uri": "x"}'], [{"name": "a", "cpus": 3, "uri": "x"}]),
        (["a", "x", "--spec-wait", "5"], [{"name": "a", "uri": "x", "wait": 5}]),
        (["a", "x", "--reason", "r", "--dry-run"], [{"name": "a", "uri": "x"}, {"reason": "r", "dry_run": True}]),
    ],
)
def test_words_become_structs(words: list[str], sent: list[Any]) -> None:
    assert _sent(words, SPEC, OPTIONS) == sent


def test_structs_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("name: a\nuri: x\ncpus: 4\n")
    (tmp_path / "spec.json").write_text('{"name": "a", "uri": "x"}')
    assert _sent([f"--spec=@{tmp_path}/spec.yaml"], SPEC) == [{"name": "a", "uri": "x", "cpus": 4}]
    assert _sent([f"--spec=@{tmp_path}/spec.json", "--cpus", "5"], SPEC) == [{"name": "a", "uri": "x", "cpus": 5}]


def test_optional_arguments_in_the_middle_get_their_default() -> None:
    ident = {"name": "host", "type": "ref", "required": True, "help": ""}
    seconds = {"name": "seconds", "type": "number", "required": False, "help": "", "default": 30.0}
    assert _sent(["7"], ident, seconds, OPTIONS) == [7]
    assert _sent(["web-1", "2.5"], ident, seconds, OPTIONS) == ["web-1", 2.5]
    assert _sent(["7", "--reason", "r"], ident, seconds, OPTIONS) == [7, 30.0, {"reason": "r"}]


def test_an_optional_password_is_asked_for_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    ident = {"name": "appliance", "type": "ref", "required": True, "help": ""}
    secret = {"name": "password", "type": "string", "required": False, "help": "", "default": ""}
    monkeypatch.setattr("sys.stdin", io.StringIO("from standard input\n"))
    assert _sent(["web-1"], ident, secret, OPTIONS) == ["web-1"]
    assert _sent(["web-1", "--password"], ident, secret, OPTIONS) == ["web-1", "from standard input"]


def test_words_that_do_not_fit() -> None:
    for kind, word in (("integer", "x"), ("number", "x"), ("boolean", "maybe"), ("struct", "no-pair")):
        with pytest.raises(click.BadParameter):
            values.convert(kind, word, {})


def test_exit_codes_follow_the_errors() -> None:
    expected = {400: 2, 401: 4, 403: 4, 404: 3, 409: 5, 413: 2, 429: 75, 500: 1, 503: 75, 507: 5, 418: 1}
    assert {code: exit_code_of(code) for code in expected} == expected


def test_credentials_go_over_tls_only() -> None:
    assert endpoint("https://host:7443") == "https://host:7443/rpc"
    assert endpoint("http://127.0.0.1:1/rpc") == "http://127.0.0.1:1/rpc"
    for wrong in ("http://host", "host:7443", "ftp://host", "https://"):
        with pytest.raises(ConfigInvalid):
            endpoint(wrong)


def test_profiles_are_kept_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QRM_URL", "QRM_TOKEN", "QRM_CA_FILE", "QRM_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ConfigInvalid, match="no server is known"):
        profiles.load()
    kept = Profile('https://a"b\\c', "t", "/ca.pem")
    path = profiles.keep("", kept)
    profiles.keep("other", Profile("https://other"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert profiles.load() == kept
    assert profiles.load("other") == Profile("https://other")
    monkeypatch.setenv("QRM_URL", "https://elsewhere")
    assert profiles.load() == Profile("https://elsewhere")  # our token stays here
    path.write_text("[default]\nurll = 'x'\n")
    with pytest.raises(ConfigInvalid, match="urll"):
        profiles.load()


def test_steps_are_one_line_each_and_can_t_drive_a_terminal() -> None:
    step = {"title": "clone \x1b[2J", "state": "debt", "fault": {"message": "no mail server"}}
    assert waiting.describe(step) == "! clone \ufffd[2J [debt]: no mail server"
    assert printable("ä\u202e") == "ä\ufffd"


def test_rows_inside_an_answer_can_t_drive_a_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    output.show({"steps": [{"title": "\x9b2J\nforged"}], "log": "\u202e"}, "table")
    assert capsys.readouterr().out == "steps  title=\ufffd2J\ufffdforged\nlog    \ufffd\n"
