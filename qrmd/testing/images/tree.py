"""The files of the micro image: its root tree and its initial RAM disk."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from qrmd.process import find_program, run
from qrmd.testing.images.packages import Kernel

SOURCES = Path(__file__).parent
ROOT_MODULES = ("virtio_net", "virtio_blk", "isofs", "button", "evdev", "8021q", "vxlan")
INITRD_MODULES = ("virtio_pci", "virtio_blk")
PROGRAMS = ("dropbear", "dropbearkey", "resize2fs")

_DIRECTORIES = (
    *("bin", "boot", "dev", "etc/dropbear", "home", "lib", "lib64", "mnt", "proc"),
    *("root", "run", "sys", "tmp", "usr/share", "var/log"),
)
_LINKS = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin", "var/run": "/run"}

# Ours replace busybox's: they give the address back and are done in a second.
_OUR_APPLETS = {"poweroff", "reboot", "halt", "busybox"}


def make_root(root: Path, kernel: Kernel, initrd: Path) -> None:
    """Fill the empty directory ``root`` with the guest's root tree."""
    _make_skeleton(root)
    _install_busybox(root)
    for program in PROGRAMS:
        _install_program(root, program)
    _install_modules(root, kernel, ROOT_MODULES)
    shutil.copytree(SOURCES / "rootfs/disk", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    _set_modes(root)
    (root / "etc/hostname").write_text("micro\n", encoding="ascii")
    (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    shutil.copyfile(kernel.vmlinuz, root / "boot/vmlinuz")
    shutil.copyfile(initrd, root / "boot/initrd")


def make_initrd(initrd: Path, kernel: Kernel, work: Path) -> None:
    """Write the initial RAM disk; ``work`` is an empty directory for its tree."""
    for name in ("bin", "proc", "sys", "dev", "newroot", "lib"):
        (work / name).mkdir()
    shutil.copy2(_program("busybox"), work / "bin/busybox")
    (work / "bin/sh").symlink_to("busybox")
    _install_modules(work, kernel, INITRD_MODULES)
    shutil.copy2(SOURCES / "rootfs/initrd/init", work / "init")
    (work / "init").chmod(0o755)
    names = sorted(str(path.relative_to(work)) for path in work.rglob("*"))
    cpio = ["busybox", "cpio", "-o", "-H", "newc", "-F", str(initrd)]
    run(cpio, input="\n".join([".", *names]) + "\n", cwd=work, timeout=60)


def _make_skeleton(root: Path) -> None:
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)


def _install_busybox(root: Path) -> None:
    shutil.copy2(_program("busybox"), root / "bin/busybox")
    for applet in run(["busybox", "--list"], timeout=10).stdout.split():
        if applet not in _OUR_APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
    for applet in ("init", "getty"):
        link = root / "bin" / applet
        if not link.is_symlink():
            link.symlink_to("busybox")


def _install_program(root: Path, name: str) -> None:
    program = _program(name)
    target = root / "bin" / name
    target.unlink(missing_ok=True)
    shutil.copy2(program, target)
    for library in re.findall(r"(/\S+)\s+\(0x", run(["ldd", str(program)], timeout=10).stdout):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy2(library, copy)


def _install_modules(root: Path, kernel: Kernel, names: Iterable[str]) -> None:
    target = root / "lib/modules" / kernel.release
    target.mkdir(parents=True)
    for path in _resolve_modules(kernel, names):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kernel.modules / path, target / path)
    for name in ("modules.builtin", "modules.order"):
        shutil.copyfile(kernel.modules / name, target / name)
    run(["depmod", "-b", str(root), kernel.release], timeout=60)


def _resolve_modules(kernel: Kernel, names: Iterable[str]) -> set[str]:
    """Paths of the modules and of all that they need, relative to the kernel's module directory."""
    needs: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text(encoding="ascii").splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.partition(".ko")[0].replace("-", "_"): path for path in needs}
    wanted = [by_name[name] for name in names if name in by_name]  # others are built in
    return {path for first in wanted for path in (first, *needs[first])}


def _set_modes(root: Path) -> None:
    """Modes don't survive every way of packaging, so they are set here: scripts begin with ``#!``."""
    for source in (SOURCES / "rootfs/disk").rglob("*"):
        if source.is_file():
            copy = root / source.relative_to(SOURCES / "rootfs/disk")
            copy.chmod(0o755 if source.read_bytes().startswith(b"#!") else 0o644)
    (root / "etc/shadow").chmod(0o600)
    for path in root.rglob("*"):
        os.chown(path, 0, 0, follow_symlinks=False)


def _program(name: str) -> Path:
    """The file of a program; ``run`` would name the missing one, and so does this."""
    found = find_program(name)
    return Path(found).resolve() if found else Path(name)
