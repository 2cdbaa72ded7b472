"""``serve_daemon`` as a child."""

from tests.bench.servers import serve_daemon as inside

__all__ = ["inside"]
