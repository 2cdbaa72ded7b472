"""The program ``qrmd``, also ``python -m qrmd``."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from qrmd.config import DEFAULT_PATH
from qrmd.errors import QrmdError


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="the daemon's TOML file; plugins.d/ lies beside it",
)
def main(config_path: Path) -> None:
    """Run the data-centre management daemon in the foreground."""
    gc.disable()  # until all parts are there: most of what is made meanwhile stays, and looking at it takes a tenth
    from qrmd.daemon import run  # noqa: PLC0415 - not before

    try:
        sys.exit(run(config_path))
    except QrmdError as error:
        click.echo(f"qrmd: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
