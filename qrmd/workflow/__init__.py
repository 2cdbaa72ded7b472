"""The workflow engine: hooks plan, actions act, the journal remembers."""
