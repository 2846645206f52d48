"""Runs one command and says what it cost. A small process of its own: a child's peak memory counts from its parent's.

Standard library alone, and started without site-packages: `python -I -S timed.py REPORT COMMAND…`.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> int:
    """Write wall and CPU seconds, peak bytes and the exit code to the file REPORT."""
    report, command = sys.argv[1], sys.argv[2:]
    began = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * unit,
        "code": os.waitstatus_to_exitcode(status),
    }
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be half of this process
        json.dump(cost, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
