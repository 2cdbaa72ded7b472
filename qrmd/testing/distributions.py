"""Real distributions with real entry points, written to a directory that is put on ``sys.path``."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from qrmd.plugins.distributions import GROUP


def write_distribution(site: Path, name: str, package: str, source: str, *, version: str = "1.0") -> None:
    """Install plugin ``name``: a package of one module and its metadata.

    Args:
        site: stands on ``sys.path``, or will.
        package: import name; the plugin's class is ``Plugin`` in it.
        source: text of the module; indentation that all lines share is removed.
    """
    home = site / package
    home.mkdir(parents=True, exist_ok=True)
    (home / "__init__.py").write_text(dedent(source), encoding="utf-8")
    metadata = site / f"{package}-{version}.dist-info"
    metadata.mkdir(exist_ok=True)
    lines = ("Metadata-Version: 2.1", f"Name: {package.replace('_', '-')}", f"Version: {version}", "")
    (metadata / "METADATA").write_text("\n".join(lines), encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {package}:Plugin\n", encoding="utf-8")
