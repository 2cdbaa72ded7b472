"""Directory storage: volumes are files."""
