"""What is done on the server itself, on its files: no daemon needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

import qrmd
from qrmd.cli import output
from qrmd.cli.connection import CallFailed
from qrmd.cli.values import secret

if TYPE_CHECKING:
    from qrmd.api import Plugin
    from qrmd.store.releases import Release

DATABASE = Path("/var/lib/qrmd/qrmd.sqlite")

_database = click.option(
    "--database", type=click.Path(path_type=Path, dir_okay=False), default=DATABASE, show_default=True,
    envvar="QRM_DATABASE", help="The daemon's database file.",
)  # fmt: skip


@click.command("reset-password")
@click.argument("name")
@click.option("--local", is_flag=True, help="Yes, in the database of this host.")
@click.option("--generate", is_flag=True, help="Make a password and print it; otherwise it is asked for.")
@_database
def reset_password(name: str, local: bool, generate: bool, database: Path) -> None:
    """Give user NAME a new password, as root on the server, whether the daemon runs or not.

    For when nobody can log in any more. It takes effect at once, and an event says that it happened.
    """
    if not local:
        raise click.UsageError("this works on the database of this host: say --local (else: qrm user set-password)")
    if os.geteuid() != 0:
        raise CallFailed("only root of the server may do that", 403, 4)
    if not database.is_file():
        raise CallFailed(f"there is no database {database}; name it with --database", 404, 3)
    from qrmd.auth import passwords  # noqa: PLC0415 - here only
    from qrmd.store.recovery import reset_password as reset  # noqa: PLC0415

    password = passwords.generate() if generate else passwords.check_password(secret("new password"))
    reset(database, name, password)
    click.echo(f"new password of {name}: {password}" if generate else f"{name} has a new password")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--verify", "only_verify", is_flag=True, help="Look only; nothing is restored.")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMATS), default="table")
@_database
def restore(file: Path, only_verify: bool, form: str, database: Path) -> None:
    """Check the backup FILE (--verify), or put it in place of the database while the daemon is stopped.

    A backup of a newer release of the daemon or of a plugin is refused. The replaced database is kept beside it.
    """
    from qrmd.store import backup  # noqa: PLC0415 - not needed by other commands

    if only_verify:
        verdict = backup.verify(file, _releases())
        output.show(verdict.as_dict(), form)
        if not verdict.usable:
            raise CallFailed(f"{file} can't be used: " + "; ".join(verdict.problems), 400, 2)
        return
    aside = backup.restore(file, database, _releases())
    click.echo(f"restored {file} to {database}" + (f"; the old one is {aside}" if aside else ""))


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path), default=Path("/etc/qrmd/qrmd.toml"))
def check_config(file: Path) -> None:
    """Read the daemon's configuration FILE as the daemon would, and say what is wrong with it."""
    from qrmd import config  # noqa: PLC0415 - not needed by other commands

    problems = config.check(file, _config_types())
    for each in problems:
        click.echo(each, err=True)
    if problems:
        raise CallFailed(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}", 500, 78)
    click.echo(f"{file} is fine")


def _config_types() -> dict[str, type]:
    """The configuration of each installed plugin that can be imported."""
    return {name: plugin.config_type for name, (plugin, _) in _plugins().items()}


def _releases() -> dict[str, Release]:
    """The core and the installed plugins that can be imported, as backups are compared with them."""
    from qrmd.store import migrations, releases  # noqa: PLC0415

    found = {releases.CORE: releases.release_of(qrmd.__version__, migrations.core)}
    for name, (plugin, version) in _plugins().items():
        found[name] = releases.release_of(version, plugin.migrations)
    return found


def _plugins() -> dict[str, tuple[type[Plugin], str]]:
    """Class and version of each installed plugin that can be imported; of the others the fault is told."""
    from qrmd.errors import PluginFault  # noqa: PLC0415
    from qrmd.plugins import distributions  # noqa: PLC0415 - imports the plugins, and all that they need

    found: dict[str, tuple[type[Plugin], str]] = {}
    for name, installed in distributions.find_installed().items():
        try:
            found[name] = installed.load(), installed.version
        except PluginFault as error:
            click.echo(f"plugin {name}: {error}", err=True)
    return found
