"""The main job on real virtual machines, acted through the public interfaces: ``python -m qrmd.testing.demo``."""
