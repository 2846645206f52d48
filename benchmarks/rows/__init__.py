"""The rows of the table, by the name that chooses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.lab import Lab
from benchmarks.row import Outcome, Row
from benchmarks.rows import collecting, listing, moving, scaling, start

GROUPS: dict[str, Callable[[Lab], Iterator[Row | Outcome]]] = {
    "start": start.rows,
    "ls": listing.ls,
    "du": listing.du,
    "plan": collecting.plan,
    "far": collecting.far,
    "real": collecting.real,
    "sweep": collecting.sweep,
    "migrate": moving.migrate,
    "get": moving.get,
    "sqlite": listing.sqlite,
    "mariadb": listing.mariadb,
    "memory": scaling.memory,
}
