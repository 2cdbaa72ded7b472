"""Names of fields for people."""

from __future__ import annotations

_WORDS = {"cpu": "CPU", "cpus": "CPUs", "uri": "URI", "ssh": "SSH", "dns": "DNS", "cidr": "CIDR", "uuid": "UUID",
          "sha256": "SHA-256", "id": "id"}  # fmt: skip


def show_label(name: str) -> str:
    """A field's name for people: ``memory_mb`` is ``Memory (MiB)``."""
    first, *others = name.replace("_mb", " (MiB)").split("_")
    words = [_WORDS.get(first, first[:1].upper() + first[1:]), *(_WORDS.get(each, each) for each in others)]
    return " ".join(words)
