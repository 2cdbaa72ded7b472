"""``qrm``: the command line. A thin client of the XML-RPC interface; exit codes are in ``docs/cli.md``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

import qrmd
from qrmd.cli.commands import Noun
from qrmd.cli.connection import CallFailed
from qrmd.cli.output import FORMATS
from qrmd.errors import QrmdError

_LOCAL = {
    "login": ("qrmd.cli.login", "login"),
    "restore": ("qrmd.cli.local", "restore"),
    "check-config": ("qrmd.cli.local", "check_config"),
    "lab": ("qrmd.cli.lab", "lab"),
    "manual": ("qrmd.cli.manual", "manual"),
    "completion": ("qrmd.cli.manual", "completion"),
}
_LOCAL_IN = {
    "user": {"reset-password": ("qrmd.cli.local", "reset_password")},
    "audit": {"leftovers": ("qrmd.cli.audit", "leftovers")},
}


class Root(Noun):
    """All commands: those of this program, then the server's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names."""
        return sorted({*_LOCAL, *_LOCAL_IN, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Own commands are imported when they are asked for."""
        if cmd_name in _LOCAL:
            return _load(*_LOCAL[cmd_name])
        if cmd_name in _LOCAL_IN:
            own = Mixed(f"{cmd_name}.", name=cmd_name, help=f"Verbs of {cmd_name}.")
            own.local = _LOCAL_IN[cmd_name]
            return own
        return super().get_command(ctx, cmd_name)


class Mixed(Noun):
    """A noun of the server with some commands of this program."""

    local: dict[str, tuple[str, str]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names."""
        return sorted({*self.local, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command."""
        if cmd_name in self.local:
            return _load(*self.local[cmd_name])
        return super().get_command(ctx, cmd_name)


def _load(module: str, name: str) -> click.Command:
    command: click.Command = getattr(importlib.import_module(module), name)
    return command


@click.command(cls=Root, prefix="", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(qrmd.__version__, prog_name="qrm")
@click.option(
    "--profile", default="", envvar="QRM_PROFILE", is_eager=True, help="Server of ~/.config/qrmd/config.toml."
)
@click.option("-o", "--output", "form", type=click.Choice(FORMATS), default="table", help="Form of answers.")
def cli(profile: str, form: str) -> None:
    """Speak with a qrmd server: qrm NOUN VERB ARGUMENTS.

    Begin with: qrm login https://HOST:7443. Then: qrm host list, qrm appliance start NAME --wait, …
    """


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit status."""
    try:
        result: Any = cli.main(arguments, prog_name="qrm", standalone_mode=False)
    except CallFailed as error:
        return _say(str(error), error.exit_code)
    except QrmdError as error:
        return _say(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    return result if isinstance(result, int) else 0


def _say(message: str, status: int) -> int:
    click.echo(f"qrm: {message}", err=True)
    return status


def main() -> None:
    """Entry point."""
    sys.exit(run())


if __name__ == "__main__":
    main()
