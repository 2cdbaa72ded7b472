"""The root of a Debian 12 with systemd and little else, as a directory: what is not there, an admin has to install."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from qrmd.process import run
from qrmd.testing.images import cache

RELEASE = "bookworm"
PACKAGES = ("systemd-sysv", "udev", "dbus", "procps", "netbase")
SECONDS = 1800.0
"""In which a slow mirror and a slow machine are done; it takes half a minute."""

_OURS = re.compile(rf" {RELEASE}(-updates|-security)? main$")


def build() -> Path:
    """That directory, from the cache or built now. Copy it: it is everybody's.

    Raises:
        ProcessFailed: a package source can't be reached, or mmdebstrap is missing.
    """
    sources = find_sources()
    inputs = json.dumps([RELEASE, PACKAGES, sources])
    key = hashlib.sha256(inputs.encode()).hexdigest()[:20]

    def make(target: Path) -> None:
        line = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory"]
        line += [f"--include={','.join(PACKAGES)}", "--dpkgopt=force-unsafe-io", RELEASE, str(target / "root")]
        given = "".join(f"{source}\n" for source in sources)
        run([*line, "-"] if sources else line, timeout=SECONDS, input=given)

    return cache.fetch(cache.cache_root() / "fresh", key, make) / "root"


def find_sources() -> list[str]:
    """Lines of ``sources.list`` with which this machine gets that Debian; none if it is another system."""
    form = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    asked = ["apt-get", "indextargets", "--format", form, "Identifier: Packages", "Origin: Debian"]
    said = run(asked, timeout=60, check=False).stdout
    return sorted({line for line in said.splitlines() if _OURS.search(line)})
