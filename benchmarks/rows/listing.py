"""Reading all rows: `ls` and `du`, beside the driver that moves the same columns and drops them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks import xcoms
from benchmarks.commands import PYTHON, floor, place, told, xcomctl
from benchmarks.lab import Lab
from benchmarks.measuring import Contender
from benchmarks.row import FLOOR, OURS, Outcome, Row, skipped

_ROWS = 1_000_000
_COPY = "COPY of dag_id, run_id, task_id, map_index, key, timestamp, pg_column_size(value), in no order, dropped"
_SELECT = "the driver's SELECT of the same columns, fetchmany of 10,000, dropped"


def ls(lab: Lab) -> Iterator[Row]:
    """Everything in PostgreSQL, to a pipe."""
    count = lab.sized(_ROWS)
    url = lab.postgres(count)
    yield Row(
        "ls postgresql", "`xcomctl ls`", _on(count), _COPY, {OURS: listed(url), FLOOR: _keys(url)}, expected=count
    )


def du(lab: Lab) -> Iterator[Row]:
    """The same, counted by DAG."""
    count = lab.sized(_ROWS)
    url = lab.postgres(count)
    yield Row(
        "du postgresql", "`xcomctl du`", _on(count), _COPY, {OURS: summed(url), FLOOR: _keys(url)}, expected=count
    )


def mariadb(lab: Lab) -> Iterator[Row | Outcome]:
    """The same, and gc's reading of the references, in MariaDB."""
    count = lab.sized(_ROWS)
    url = lab.mariadb(count)
    if url is None:
        yield from (skipped(row, "no server") for row in _on_driver("mariadb", "MariaDB", "", count))
        return
    yield from _on_driver("mariadb", "MariaDB", url, count)


def sqlite(lab: Lab) -> Iterator[Row]:
    """And in SQLite."""
    count = lab.sized(_ROWS)
    yield from _on_driver("sqlite", "SQLite", lab.sqlite(count), count)


def _on_driver(name: str, called: str, url: str, count: int) -> Iterator[Row]:
    on = f"{count:,} small rows in {called}, 70 % references"
    keys = Contender(floor("fetch_keys", url).command, _rows)
    for command, ours in (("ls", listed(url)), ("du", summed(url))):
        yield Row(
            f"{command} {name}",
            f"`xcomctl {command}`",
            on,
            _SELECT,
            {OURS: ours, FLOOR: keys},
            expected=count,
            repeat=2,
        )
    scanned = Contender([PYTHON, "-m", "benchmarks.scans", url], _rows)
    references = Contender(floor("fetch_references", url).command, _rows)
    yield Row(
        f"gc rows {name}",
        "gc's reading of all references",
        on,
        "the driver's SELECT of the values that begin as a reference does, and of their times, fetchmany, dropped",
        {OURS: scanned, FLOOR: references},
        expected=xcoms.references(count),
        repeat=2,
    )


def listed(url: str) -> Contender:
    """`ls` of everything; its answer is the number of lines."""
    return xcomctl("ls", *place(url), "--limit", "0", answer=int, counts=b"\n")


def summed(url: str) -> Contender:
    """`du` of everything; its answer is the number of rows that it has counted."""
    return xcomctl("du", *place(url), "-o", "json", answer=_counted)


def _counted(shown: bytes) -> int:
    return sum(group["count"] for group in json.loads(shown))


def _keys(url: str) -> Contender:
    return Contender(floor("copy_keys", url).command, _rows)


def _rows(shown: bytes) -> int:
    return int(told(shown)["rows"])


def _on(count: int) -> str:
    return f"{count:,} rows in PostgreSQL, {count // 50:,} of 100 KB to 1 MB inline, 70 % references"
