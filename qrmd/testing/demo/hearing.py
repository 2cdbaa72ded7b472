"""``python -m qrmd.testing.demo.hearing FD -- PROGRAM …``: become the program, with FD as its standard output.

What the daemon says on standard output (the first password) is for who started it; the log must not have it.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.dup2(int(sys.argv[1]), 1)
    os.close(int(sys.argv[1]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - no shell: it is a list
