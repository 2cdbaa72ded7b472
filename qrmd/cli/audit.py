"""``qrm audit leftovers``: the verb, with its actions as flags and its verdict as exit status."""

from __future__ import annotations

from typing import Any

import click

from qrmd.cli import output
from qrmd.cli.commands import session_of

UNCLEAN = 8


@click.command("leftovers")
@click.option("--adopt", "action", flag_value="adopt", help="Own the orphans whose tag names an object that exists.")
@click.option("--remove", "action", flag_value="remove", help="Remove orphans outside, and rows of missing things.")
@click.option(
    "--ignore", "action", flag_value="ignore", help="Be silent about the orphans from now on; needs --reason."
)
@click.option("--only", multiple=True, metavar="EXTERNAL-ID", help="Limit the action to this (several times).")
@click.option("--reason", default="", help="Kept with the events.")
@click.option("--dry-run", is_flag=True, help="Say what the action would be done to; do nothing.")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMATS), help="Form of the answer.")
@click.pass_context
def leftovers(
    ctx: click.Context,
    action: str | None,
    only: tuple[str, ...],
    reason: str,
    dry_run: bool,
    form: str | None,
) -> None:
    """Compare what carries our tag outside with what we know, and say what is orphaned or missing.

    Ends with 8 when something is left, or when a place could not be looked at.
    """
    session = session_of(ctx)
    options: dict[str, Any] = {"action": action or "report", "only": list(only), "reason": reason, "dry_run": dry_run}
    found = session.connection().call("audit.leftovers", options)
    output.show(found, form or session.form)
    if not found["clean"]:
        raise click.exceptions.Exit(UNCLEAN)
