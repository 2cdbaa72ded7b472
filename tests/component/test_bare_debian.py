"""``tools/bare-debian`` makes its root in namespaces of its own, whatever it finds in its environment."""

from __future__ import annotations

import os
from pathlib import Path

from qrmd.process import run
from qrmd.testing.needs import require

require("root")

TOOL = Path(__file__).resolve().parents[2] / "tools/bare-debian"
BUILDER = """#!/bin/sh
for target; do :; done
echo "$PPID $target" >"$SEEN"
exit 3
"""


def test_it_does_not_take_itself_for_the_one_inside(tmp_path: Path) -> None:
    """A variable of that name is no reason to turn the root of this machine."""
    builder, seen, kept = tmp_path / "bin/mmdebstrap", tmp_path / "seen", tmp_path / "kept"
    builder.parent.mkdir()
    builder.write_text(BUILDER, encoding="ascii")
    builder.chmod(0o755)
    kept.mkdir()
    path = f"{builder.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SEEN": str(seen), "BARE": str(kept), "TMPDIR": str(tmp_path)}
    ended = run([str(TOOL), "true"], timeout=120, env=environment, check=False)
    assert ended.returncode == 3
    parent, target = seen.read_text(encoding="ascii").split()
    assert parent == "1"
    assert not Path(target).is_relative_to(kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "kept", "seen"], "what it made is gone"
