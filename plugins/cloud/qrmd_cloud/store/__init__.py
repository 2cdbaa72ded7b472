"""All SQL of the plugin, one module per aggregate. Every table is prefixed ``cloud_``."""
