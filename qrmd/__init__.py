"""qrmd: a data-centre management daemon."""

__version__ = "0.1.0"
