"""Nothing is skipped where everything is there."""

from __future__ import annotations

import re
from pathlib import Path

from qrmd.testing.needs import NEEDS

RUN = Path(__file__).parents[2] / ".ci/run"


def test_ci_requires_every_need_and_runs_make_test_alone() -> None:
    text = RUN.read_text(encoding="utf-8")
    named = re.search(r"^export QRMD_REQUIRE=(\S+)$", text, re.MULTILINE)
    assert named is not None
    assert set(named[1].split(",")) == set(NEEDS)
    assert text.rstrip().endswith("exec make test")
