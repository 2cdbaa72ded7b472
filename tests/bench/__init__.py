"""Measurements of speed: ``python -m tests.bench [--quick] [NAME…]``. It is no test."""
