"""Man pages and shell completion, from the same source as the commands."""

from __future__ import annotations

from pathlib import Path

import click

import qrmd


@click.command("manual")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def manual(ctx: click.Context, directory: Path) -> None:
    """Write man pages of all commands that this server offers you into DIRECTORY."""
    directory.mkdir(parents=True, exist_ok=True)
    root = ctx.find_root()
    pages = _write(root.command, root, directory)
    click.echo(f"{pages} pages in {directory}")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL: eval "$(qrm completion bash)"."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - here only

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - the choices are click's own
    click.echo(found(ctx.find_root().command, {}, "qrm", "_QRM_COMPLETE").source())


def page(command: click.Command, context: click.Context) -> str:
    """One man page as troff."""
    name = context.command_path.replace(" ", "-")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        f'.TH "{name.upper()}" "1" "" "qrmd {qrmd.__version__}" "qrm manual"',
        f".SH NAME\n{_quoted(name)} \\- {_quoted(command.get_short_help_str(200))}",
        f".SH SYNOPSIS\n.B {_quoted(context.command_path)}\n{_quoted(usage)}",
        f".SH DESCRIPTION\n{_quoted(command.help or '')}",
    ]
    params = command.get_params(context)
    records = [found for each in params if (found := each.get_help_record(context)) is not None]
    if records:
        parts.append(
            ".SH OPTIONS\n" + "\n".join(f".TP\n.B {_quoted(left)}\n{_quoted(right)}" for left, right in records)
        )
    if isinstance(command, click.Group):
        lines = []
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            if child is not None:
                lines.append(f".TP\n.BR {_quoted(f'{name}-{each}')} (1)\n{_quoted(child.get_short_help_str(200))}")
        parts.append(".SH COMMANDS\n" + "\n".join(lines))
    return "\n".join(parts) + "\n"


def _write(command: click.Command, context: click.Context, directory: Path) -> int:
    name = context.command_path.replace(" ", "-")
    (directory / f"{name}.1").write_text(page(command, context))
    count = 1
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            if child is not None:
                count += _write(child, click.Context(child, parent=context, info_name=each), directory)
    return count


def _quoted(text: str) -> str:
    lines = text.replace("\\", "\\e").replace("-", "\\-").split("\n")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)
