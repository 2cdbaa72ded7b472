"""qemu-img, with formats always said and resources bounded: images are hostile input."""

from __future__ import annotations

from pathlib import Path

from qrmd.api import Conflict, process
from qrmd_dir_storage.config import Config

PROGRAMS = ("qemu-img", "prlimit")


def missing_programs() -> list[str]:
    """Programs that are needed and not installed."""
    return [name for name in PROGRAMS if process.find_program(name) is None]


def create_overlay(config: Config, directory: Path, name: str, backing: str, fmt: str, size: int) -> None:
    """Make ``name`` a qcow2 of ``size`` bytes over ``backing``, of format ``fmt``, in the same directory.

    The backing name is written relative, so that the directory may be mounted elsewhere.
    """
    _run(config, directory, "create", "-q", "-f", "qcow2", "-F", fmt, "-b", backing, name, str(size))


def resize(config: Config, directory: Path, name: str, fmt: str, size: int) -> None:
    """Grow to ``size`` bytes. Raises Conflict when a machine has it open."""
    _run(config, directory, "resize", "-q", "-f", fmt, name, str(size))


def flatten(config: Config, directory: Path, source: str, name: str) -> None:
    """Write the whole content of a qcow2 chain into ``name``, a qcow2 of its own."""
    _run(config, directory, "convert", "-q", "-f", "qcow2", "-O", "qcow2", source, name)


def _run(config: Config, directory: Path, *arguments: str) -> None:
    limits = (f"--as={config.qemu_img_memory_mb << 20}", f"--cpu={config.qemu_img_seconds}", "--core=0")
    try:
        process.run(["prlimit", *limits, "qemu-img", *arguments], timeout=config.qemu_img_seconds, cwd=directory)
    except process.ProcessFailed as error:
        if " lock" in error.stderr:
            raise Conflict(
                "the volume is open in a machine", subject=f"volume:{arguments[-1]}", hint="stop it first"
            ) from error
        raise
