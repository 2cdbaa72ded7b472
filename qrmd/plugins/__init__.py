"""What makes plugins come and go: found, enabled, started, registered, driven and taken out again."""
