"""`python -m benchmarks [NAME…]`: measure all rows, or those of some groups, and write down what came out."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import report, scale
from benchmarks.lab import Lab
from benchmarks.measuring import ROOT
from benchmarks.row import FAILED, Outcome, tried
from benchmarks.rows import GROUPS

SMALL = 0.005
PICTURE = ROOT / "docs/scale.svg"


def main(words: Sequence[str]) -> int:
    """0 when everything was measured, whatever came out; 1 when a row failed. What was measured is kept at once."""
    options = _options(words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    where = report.machine()
    lab = Lab(options.scale, say)
    try:
        for outcome in _outcomes(lab, options.names or GROUPS, options.repeat, say):
            lab.measured.append(outcome)
            _keep(options.json, outcome, where)
    finally:
        lab.close()
    print(report.table([each.facts() for each in lab.measured]))
    return int(any(each.skipped.startswith(FAILED) for each in lab.measured))


def _outcomes(lab: Lab, names: Sequence[str], repeat: int | None, say: Callable[[str], None]) -> Iterator[Outcome]:
    """What comes out of each row; a group whose servers or data cannot be made has none but one that says so."""
    for name in names:
        try:
            for row in GROUPS[name](lab):
                say(row.name)
                yield row if isinstance(row, Outcome) else tried(row, repeat)
        except Exception as error:
            yield Outcome(name, f"all of `{name}`", "", "", skipped=f"{FAILED}{error!r}")


def _keep(path: Path | None, outcome: Outcome, where: report.Facts) -> None:
    if path is None:
        return
    found = report.merged(path, [outcome.facts()], where)
    report.write(path, found)
    if path == report.RESULTS:
        report.PAGE.write_text(report.page(found))
        PICTURE.write_text(scale.picture())


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--scale", type=_positive, default=1.0, metavar="F", help="multiplies all sizes")
    parser.add_argument("--small", action="store_const", const=SMALL, dest="scale", help=f"--scale {SMALL}")
    parser.add_argument("--repeat", type=_count, metavar="N", help="how often each contender runs; 3, or as a row says")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go instead of benchmarks/")
    options = parser.parse_args(words)
    unknown = set(options.names) - GROUPS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(GROUPS)}")
    if options.json is None:
        options.json = report.RESULTS if options.scale == 1 else None
    elif not options.json.parent.is_dir():
        parser.error(f"there is no folder {options.json.parent}")
    return options


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
