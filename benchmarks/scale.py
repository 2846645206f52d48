"""How gc's plan grows, as `docs/scale.md` says it: a line through what was measured, what that costs, a picture."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report import RESULTS
from benchmarks.row import OURS

PREFIX = "gc scale "
OBJECTS_PER_REFERENCE = 1.3
SIZES = (10**5, 10**6, 10**7, 10**8)
LISTED_PER_REQUEST = 1000
DOLLARS_PER_REQUEST = 0.005 / 1000
_ABSENT = "Not measured yet: `make bench`.\n"


@dataclass(frozen=True, slots=True)
class Point:
    """One size, and what a plan of it took."""

    objects: float
    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Line:
    """So much for nothing, and so much for each object."""

    least: float
    each: float

    def at(self, objects: float) -> float:
        """What so many cost."""
        return self.least + self.each * objects


def points(rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """What was measured, by size."""
    found = []
    for row in rows:
        if row["name"].startswith(PREFIX) and not row["skipped"]:
            costs, objects = row["costs"][OURS], int(row["name"].removeprefix(PREFIX)) * OBJECTS_PER_REFERENCE
            found.append(Point(objects, costs["wall"]["median"], costs["peak"]["median"]))
    return sorted(found, key=lambda point: point.objects)


def fitted(measured: Sequence[Point]) -> tuple[Line, Line]:
    """The lines of seconds and of bytes; least squares, so that the largest sizes decide."""
    objects = [point.objects for point in measured]
    lines = []
    for numbers in ([point.seconds for point in measured], [point.peak for point in measured]):
        slope, start = statistics.linear_regression(objects, numbers)
        lines.append(Line(max(start, 0.0), slope))
    return lines[0], lines[1]


def told() -> str:
    """The table of the page, and what the line is."""
    measured = points(_rows())
    if len(measured) < 2:
        return _ABSENT
    seconds, peak = fitted(measured)
    lines = [
        "| objects | a plan takes | of memory | LIST requests, at least | they cost | all orphans to the trash | |",
        "|---|---|---|---|---|---|---|",
        *(_line(size, seconds, peak, measured) for size in SIZES),
    ]
    fit = (
        f"By a straight line through {len(measured)} sizes, from {measured[0].objects:,.0f} to "
        f"{measured[-1].objects:,.0f} objects: {1e6 * seconds.each:.1f} µs and {peak.each:.0f} bytes for each object, "
        f"after {peak.least / 1e6:.0f} MB for none."
    )
    return "\n".join((*lines, "", fit)) + "\n"


def picture() -> str:
    """Time and memory by size, both scales logarithmic: a straight line of slope one is linear growth."""
    measured = points(_rows())
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 330" font-family="sans-serif" font-size="12">',
        '<rect width="660" height="330" fill="white"/>',
        *_panel(measured, [point.seconds for point in measured], 60, "seconds", "#1f6feb"),
        *_panel(measured, [point.peak / 1e6 for point in measured], 390, "MB at the peak", "#bf3989"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _rows() -> list[Any]:
    return list(json.loads(RESULTS.read_text())["rows"]) if RESULTS.exists() else []


def _line(size: int, seconds: Line, peak: Line, measured: Sequence[Point]) -> str:
    how = "extrapolated" if size > measured[-1].objects else "by the line"
    requests = math.ceil(size / LISTED_PER_REQUEST)
    orphans = size * (1 - 1 / OBJECTS_PER_REFERENCE)
    cells = (
        f"{size:,}",
        _duration(seconds.at(size)),
        _size(peak.at(size)),
        f"{requests:,}",
        f"${requests * DOLLARS_PER_REQUEST:.4g}",
        f"${orphans * DOLLARS_PER_REQUEST:.2f}",
        how,
    )
    return f"| {' | '.join(cells)} |"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


_WIDTH, _HEIGHT, _TOP = 240, 240, 30


def _panel(measured: Sequence[Point], numbers: Sequence[float], left: int, called: str, color: str) -> list[str]:
    """One picture: axes with a line at each power of ten, and the points."""
    if not measured:
        return []
    across = _Scale([point.objects for point in measured], left, _WIDTH)
    up = _Scale(numbers, _TOP + _HEIGHT, -_HEIGHT)
    bottom, right = _TOP + _HEIGHT, left + _WIDTH
    parts = [f'<text x="{left}" y="{_TOP - 12}">{called}, by objects</text>']
    for power in across.powers:
        x = across.at(10.0**power)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">10^{power}</text>')
    for power in up.powers:
        y = up.at(10.0**power)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    places = [(across.at(point.objects), up.at(number)) for point, number in zip(measured, numbers, strict=True)]
    parts.append(
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" fill="none" stroke="{color}" '
        'stroke-width="2"/>'
    )
    parts += (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in places)
    return parts


class _Scale:
    """From numbers to places, by their magnitude, over whole powers of ten."""

    def __init__(self, numbers: Sequence[float], start: float, length: float) -> None:
        first, last = math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers)))
        self.powers = range(first, max(last, first + 1) + 1)
        self._start, self._step = start, length / (len(self.powers) - 1)

    def at(self, number: float) -> float:
        """Where a number is."""
        return self._start + (math.log10(number) - self.powers[0]) * self._step
