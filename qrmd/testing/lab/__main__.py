"""``python -m qrmd.testing.lab up|status|down``: the lab without the rest of the command line."""

from __future__ import annotations

from qrmd.cli.lab import lab

if __name__ == "__main__":
    lab(prog_name="python -m qrmd.testing.lab")
