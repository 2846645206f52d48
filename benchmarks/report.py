"""What is said of the outcomes: a table for people, RESULTS.md and results.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT
from benchmarks.row import FAILED, FLOOR, OURS, SCRIPT

RESULTS = ROOT / "benchmarks/results.json"
PAGE = ROOT / "benchmarks/RESULTS.md"
_PACKAGES = ("obstore", "sqlalchemy", "psycopg2-binary", "pymysql", "s3fs", "botocore", "numpy", "apache-airflow")
_HEADS = (
    "what",
    "on",
    "floor",
    "ours",
    "script",
    "ours / floor",
    "ours / script",
    "peak of ours (floor)",
    "goal",
    "reached",
)

Facts = Mapping[str, Any]


def machine() -> dict[str, str]:
    """Where this runs, and whether somebody else was at work there."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": _said("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def merged(path: Path, outcomes: Iterable[Facts], where: Facts) -> dict[str, Any]:
    """The rows of a file with these in the place of those of the same name; each keeps where it was measured.

    What was not measured now takes no such place.
    """
    before = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows = {row["name"]: row for row in before["rows"]}
    now = (row for row in outcomes if not row["skipped"] or row["name"] not in rows)
    rows |= {row["name"]: {**row, "machine": where} for row in now if not row["skipped"].startswith(FAILED)}
    return {"schema": 1, "rows": [rows[name] for name in sorted(rows)]}


def write(path: Path, found: Facts) -> None:
    """As JSON that a diff can be read of."""
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def table(rows: Sequence[Facts]) -> str:
    """In markdown, one line a row."""
    lines = [_HEADS, ["---"] * len(_HEADS), *(_line(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def page(found: Facts) -> str:
    """RESULTS.md."""
    rows = found["rows"]
    parts = [
        "# Measured\n",
        "`make bench` writes this page. Only ratios say anything: all contenders of a row ran in turns, in one run, on",
        "one machine, each in a process of its own. Shown is the median, in brackets the smallest and the largest.\n",
        table(rows),
        "## What each row is measured against\n",
        *(_against(row) for row in rows),
        "\n## Where\n",
        *_places(rows),
    ]
    return "\n".join(parts) + "\n"


def _line(row: Facts) -> list[str]:
    if row["skipped"]:
        return [row["what"], row["on"], *([""] * 6), "", "skipped: " + row["skipped"].partition("\n")[0]]
    costs, ratios, verdicts = row["costs"], row["ratios"], row["verdicts"]
    return [
        row["what"],
        row["on"],
        *(_seconds(costs.get(name)) for name in (FLOOR, OURS, SCRIPT)),
        *(_ratio(ratios.get(name)) for name in (FLOOR, SCRIPT)),
        f"{_megabytes(costs[OURS])} ({_megabytes(costs[FLOOR])})",
        "; ".join(each["goal"] for each in verdicts) or "none set",
        "; ".join("yes" if each["reached"] else f"no, {each['ratio']:.2f}" for each in verdicts),
    ]


def _seconds(cost: Facts | None) -> str:
    return f"{cost['wall']['median']:.3g} s" if cost else ""


def _megabytes(cost: Facts) -> str:
    return f"{cost['peak']['median'] / 1e6:,.0f} MB"


def _ratio(spread: Facts | None) -> str:
    return f"{spread['median']:.2f} ({spread['least']:.2f}..{spread['most']:.2f})" if spread else ""


def _against(row: Facts) -> str:
    script = f" Script: {row['script_is']}." if row["script_is"] else ""
    runs = f" {row['repeat']} runs." if row["repeat"] else ""
    return f"- **{row['name']}**: {row['what']}. Floor: {row['floor_is']}.{script}{runs}"


def _places(rows: Sequence[Facts]) -> list[str]:
    """Each machine and day, and the rows that were measured then."""
    places: dict[str, list[str]] = {}
    for row in rows:
        told = ", ".join(f"{name} {value}" for name, value in sorted(row["machine"].items()) if value)
        places.setdefault(told, []).append(row["name"])
    return [f"- {told}: {', '.join(names)}" for told, names in places.items()]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
