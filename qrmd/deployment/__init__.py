"""The core as its own first plugin: planners and actions that put images on disks and machines on hosts."""
