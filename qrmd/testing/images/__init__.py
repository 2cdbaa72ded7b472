"""Guest images that boot in seconds, built from packages of the machine."""
