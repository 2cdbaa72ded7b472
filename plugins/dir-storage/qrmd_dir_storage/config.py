"""Settings of directory storage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """As in ``dir-storage.toml``.

    Attributes:
        max_size_mb: the largest disk that is accepted or made, in MiB.
        qemu_img_seconds: wall and processor time for one run of qemu-img.
        qemu_img_memory_mb: address space for one run of qemu-img, in MiB.
    """

    max_size_mb: int = 16 * 1024 * 1024
    qemu_img_seconds: int = 3600
    qemu_img_memory_mb: int = 2048
