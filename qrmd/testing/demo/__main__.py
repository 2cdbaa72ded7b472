"""``python -m qrmd.testing.demo``: what ``make demo`` runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from qrmd.testing.demo.options import DEFAULT_PORTS, Options


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), default=Path("build/demo"), show_default=True)
@click.option("--lab", default="demo", show_default=True, help="Name of the lab that it brings up.")
@click.option(
    "--ports",
    nargs=3,
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORTS,
    show_default=True,
    help="Of administration, portal and boot on 127.0.0.1; 0: any.",
)
@click.option("--once", is_flag=True, help="End after the job; the last line is one JSON object.")
@click.option("--no-job", is_flag=True, help="Bring lab and daemon up, prepared for orders, and act nothing.")
@click.option("--tethered", is_flag=True, help="End when the process that started this one ends.")
def main(directory: Path, lab: str, ports: tuple[int, int, int], *, once: bool, no_job: bool, tethered: bool) -> None:
    """Bring a lab and a daemon up, act the main job in them, and stay up until Ctrl-C."""
    try:
        from qrmd.testing.demo.show import run  # noqa: PLC0415 - needs the extra qrmd[lab]
    except ImportError as error:
        click.echo(f"demo: {error.name} is missing: pip install 'qrmd[lab,libvirt]'", err=True)
        sys.exit(1)
    sys.exit(run(Options(directory.absolute(), lab, ports, once=once, job=not no_job, tethered=tethered)))


if __name__ == "__main__":
    main(prog_name="python -m qrmd.testing.demo")
