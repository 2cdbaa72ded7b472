"""The sample configuration says the defaults."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

from qrmd_dnsmasq.config import Config


def test_the_sample_says_the_defaults() -> None:
    sample = Path(__file__).parent.parent / "etc" / "dnsmasq.toml"
    assert tomllib.loads(sample.read_text()) == dataclasses.asdict(Config())
