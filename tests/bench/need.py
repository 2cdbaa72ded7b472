"""What a measurement may lack."""

from __future__ import annotations


class Unavailable(Exception):
    """This machine lacks what a measurement needs; its text says what to do."""
