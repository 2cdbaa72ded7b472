"""Running modules of qrmd in a process of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import qrmd


def module_argv(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """Our environment, in which that module is found whether qrmd is installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(qrmd.__file__).parents[1])}
