"""``serve_bare`` as a child."""

from tests.bench.servers import serve_bare as inside

__all__ = ["inside"]
