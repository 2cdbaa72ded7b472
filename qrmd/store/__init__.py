"""All SQL of the core: one writer thread, reader threads, one module per aggregate."""
