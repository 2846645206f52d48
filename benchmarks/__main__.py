"""`python -m benchmarks [NAME…]`: measure all rows, or those of some groups, and write down what came out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, scale
from benchmarks.lab import Lab
from benchmarks.measuring import ROOT
from benchmarks.row import Outcome, tried
from benchmarks.rows import GROUPS

SMALL = 0.005
PICTURE = ROOT / "docs/scale.svg"


def main(words: Sequence[str]) -> int:
    """0 when everything was measured, whatever came out; 1 when a row failed."""
    options = _options(words)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    where = report.machine()
    lab = Lab(options.scale, say)
    try:
        for name in options.names or GROUPS:
            for row in GROUPS[name](lab):
                say(row.name)
                lab.measured.append(row if isinstance(row, Outcome) else tried(row, options.repeat))
    finally:
        lab.close()
    facts = [each.facts() for each in lab.measured]
    print(report.table(facts))
    if options.json is not None:
        found = report.merged(options.json, facts, where)
        report.write(options.json, found)
    if options.json == report.RESULTS:
        report.PAGE.write_text(report.page(found))
        PICTURE.write_text(scale.picture())
    return int(any(each.skipped.startswith("failed") for each in lab.measured))


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="multiplies all sizes")
    parser.add_argument("--small", action="store_const", const=SMALL, dest="scale", help=f"--scale {SMALL}")
    parser.add_argument("--repeat", type=int, metavar="N", help="how often each contender runs; 3, or as a row says")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go instead of benchmarks/")
    options = parser.parse_args(words)
    unknown = set(options.names) - GROUPS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(GROUPS)}")
    if options.json is None:
        options.json = report.RESULTS if options.scale == 1 else None
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
