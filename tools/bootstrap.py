"""Install what `make` needs: Debian packages, a virtual environment in build/venv, web assets.

Standard library only: it runs before anything of this project can. A second run finds everything and is fast.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess  # noqa: TID251 - qrmd.process is not there yet
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
BUILD = TREE / "build"
VENV = BUILD / "venv"
LOG = BUILD / "bootstrap.log"
STAMP = VENV / ".made-from"
OLDEST = (3, 11)

DEMO_PACKAGES = (
    # the lab: libvirt with QEMU, and what the micro image is made of
    *("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "qemu-system-x86", "qemu-utils"),
    *(
        "linux-image-cloud-amd64",
        "busybox-static",
        "dropbear-bin",
        "e2fsprogs",
        "extlinux",
        "syslinux-common",
        "kmod",
    ),
    # what the daemon and the demo run
    *("dnsmasq-base", "iproute2", "util-linux", "openssh-client", "sshpass"),
    # libvirt-python is built from source
    *("gcc", "libc6-dev", "pkg-config", "libvirt-dev", "python3-dev", "python3-venv", "ca-certificates"),
)
TEST_PACKAGES = (
    *("btrfs-progs", "xfsprogs", "mount", "genisoimage", "strace", "openssh-server", "procps", "git"),
    *("chromium", "mmdebstrap", "fdisk", "ipxe-qemu"),
)
WEB_PACKAGES = ("nodejs", "npm")

FREE_FOR_PACKAGES = 2 * 2**30
FREE_FOR_BUILD = 2**30

APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=500", "-o", "Acquire::Retries=3")


class Unmet(Exception):
    """A precondition that is not met: one line that says what to do."""


def main() -> int:
    """Install what is missing; the exit status is 1 when it can't be."""
    parser = argparse.ArgumentParser(prog="bootstrap", description=__doc__)
    parser.add_argument("--for", dest="purpose", choices=("demo", "test", "assets", "python"), default="demo")
    purpose = parser.parse_args().purpose
    try:
        check_root(purpose)
        BUILD.mkdir(exist_ok=True)
        with alone():
            if purpose != "python":
                install_packages(wanted_packages(purpose))
                install_assets()
            install_venv()
    except Unmet as unmet:
        print(f"bootstrap: {unmet}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"bootstrap: {error}: mend that and run it again", file=sys.stderr)
        return 1
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """One bootstrap of a tree at a time; one that was killed holds nobody up."""
    with (BUILD / ".bootstrap.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another bootstrap of this tree")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tell(line: str) -> None:
    """One line of progress."""
    print(f"bootstrap: {line}", flush=True)


# ---------------------------------------------------------------- Debian packages


def wanted_packages(purpose: str) -> list[str]:
    """Debian packages for ``demo``, ``test`` or ``assets``."""
    web = WEB_PACKAGES if (TREE / "package.json").exists() else ()
    if purpose == "assets":
        return list(web)
    return [*DEMO_PACKAGES, *(TEST_PACKAGES if purpose == "test" else ()), *web]


def install_packages(wanted: Sequence[str]) -> None:
    """Install those that are missing."""
    if not shutil.which("dpkg-query"):
        raise Unmet("this is no Debian system (dpkg-query is missing): use Debian 12")
    missing = [name for name in find_missing(wanted) if not provided_otherwise(name)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise Unmet(f"{len(missing)} Debian packages are missing: run it as root (sudo make ...)")
    check_space(Path("/var/cache/apt"), FREE_FOR_PACKAGES)
    check_space(Path("/usr"), FREE_FOR_PACKAGES)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    sources = "check /etc/apt/sources.list* and the network, then try: apt-get update"
    tell("reading the package lists")
    attempt([*APT, "update"], f"no package source answers: {sources}", environment, bad="Failed to fetch")
    tell(f"installing {len(missing)} Debian packages: {' '.join(missing)}")
    install = [*APT, "install", "-y", "--no-install-recommends", *missing]
    attempt(install, f"apt-get could not install them: {sources}; see {LOG}", environment)


def find_missing(names: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    asked = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    installed = {line.split()[0] for line in said.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def provided_otherwise(name: str) -> bool:
    """Node.js comes from many places; whatever gives a working npm will do."""
    return name == "npm" and shutil.which("npm") is not None


# ---------------------------------------------------------------- virtual environment


def install_venv() -> None:
    """Make build/venv with qrmd and all plugins of this tree, if what they are made from has changed."""
    key = venv_key()
    if STAMP.exists() and STAMP.read_text() == key and works(VENV / "bin/python"):
        return
    check_space(BUILD, FREE_FOR_BUILD)
    python = find_python()
    if not works(VENV / "bin/python"):
        tell(f"making a virtual environment with {python}")
        shutil.rmtree(VENV, ignore_errors=True)
        attempt([python, "-m", "venv", str(VENV)], f"can't make build/venv: apt-get install python3-venv; see {LOG}")
    STAMP.unlink(missing_ok=True)
    tell("installing Python packages (about a minute)")
    pip = [str(VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    editable = [part for plugin in plugins() for part in ("-e", str(plugin))]
    attempt(
        [*pip, "-e", f"{TREE}[libvirt,lab,test]", *editable],
        f"pip could not install them: check that a Python package index can be reached; see {LOG}",
    )
    STAMP.write_text(key)


def plugins() -> list[Path]:
    """Directories of the plugins of this tree."""
    return sorted(path.parent for path in TREE.glob("plugins/*/pyproject.toml"))


def venv_key() -> str:
    """Changes with everything that the environment is made from; the tree's place is part of it."""
    digest = hashlib.sha256(f"{TREE}\n".encode())
    for path in sorted([*TREE.glob("setup.cfg"), *TREE.glob("pyproject.toml"), *TREE.glob("plugins/*/*.toml")]):
        digest.update(f"{path.relative_to(TREE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def find_python() -> str:
    """A Python that is new enough and can make virtual environments."""
    names = [sys.executable, "/usr/bin/python3", *(shutil.which(f"python3.{minor}") for minor in (13, 12, 11))]
    able = [name for name in names if name and works(name, "import sys, venv, ensurepip; sys.exit(%r)")]
    if not able:
        raise Unmet("there is no Python 3.11 or newer with venv: apt-get install python3 python3-venv")
    return able[0]


def works(python: str | Path, code: str = "import sys, pip; sys.exit(%r)") -> bool:
    """Whether this Python runs, is new enough and has the modules that ``code`` imports."""
    line = [str(python), "-c", code.replace("%r", f"sys.version_info < {OLDEST!r}")]
    try:
        return subprocess.run(line, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# ---------------------------------------------------------------- web assets


def install_assets() -> None:
    """``npm ci``, if its lock file has changed, and what package.json names as assets to where the daemon has them."""
    told = TREE / "package.json"
    if not told.exists():
        return
    install_modules(TREE / "package-lock.json")
    place = TREE / "qrmd/web/assets"
    place.mkdir(parents=True, exist_ok=True)
    wanted = {Path(name).name: TREE / "node_modules" / name for name in json.loads(told.read_text())["assets"]}
    for path in place.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, source in wanted.items():
        draft = place / f".{name}.part"
        shutil.copyfile(source, draft)
        draft.replace(place / name)


def install_modules(lock: Path) -> None:
    """``npm ci``, if the lock file has changed."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unmet("npm is missing: apt-get install npm")
    stamp = TREE / "node_modules/.made-from"
    key = hashlib.sha256(lock.read_bytes() if lock.exists() else b"").hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return
    tell("installing web assets")
    attempt([npm, "ci", "--no-audit", "--no-fund"], f"npm could not install the web assets: see {LOG}", cwd=TREE)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(key)


# ---------------------------------------------------------------- small things


def check_root(purpose: str) -> None:
    """Raises Unmet for who can't do what is to be done."""
    if purpose in {"demo", "test"} and os.geteuid() != 0:
        raise Unmet(f"make {purpose} makes network namespaces and virtual machines: run it as root (sudo make ...)")


def check_space(path: Path, needed: int) -> None:
    """Raises Unmet when the file system of ``path`` has less than so many bytes free."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise Unmet(f"only {free // 2**20} MiB are free for {path}: make {needed // 2**20} MiB free there")


def attempt(
    line: Sequence[str],
    otherwise: str,
    environment: dict[str, str] | None = None,
    *,
    cwd: Path | None = None,
    bad: str = "",
) -> None:
    """Run a program with its output in the log; raises Unmet with ``otherwise`` when it fails.

    Args:
        bad: what in its output means failure whatever its exit status.
    """
    with LOG.open("a+", encoding="utf-8", errors="replace") as log:
        log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(line)}\n")
        log.flush()
        begin = log.tell()
        status = subprocess.run(
            line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=cwd, check=False
        ).returncode
        log.seek(begin)
        said = log.read()
    if status or (bad and bad in said):
        raise Unmet(otherwise)


if __name__ == "__main__":
    sys.exit(main())
