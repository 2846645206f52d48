"""One line of the table: what is measured, on what, and against what; and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.goals import GOALS, Goal
from benchmarks.measuring import Contender, Costs, FailedError, Spread, measure, ratios, spread

OURS, FLOOR, SCRIPT = "ours", "floor", "script"
FAILED = "failed: "
"""How the reason begins of what should have been measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """`floor_is` says in words what the floor does. `expected` is what every answer must be equal to."""

    name: str
    what: str
    on: str
    floor_is: str
    contenders: Mapping[str, Contender]
    script_is: str = ""
    expected: Any = None
    repeat: int = 3
    is_warm: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was reached of it; None where it is not judged."""

    goal: str
    ratio: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row as it is told and kept. `skipped` says why there are no numbers."""

    name: str
    what: str
    on: str
    floor_is: str
    script_is: str = ""
    skipped: str = ""
    repeat: int = 0
    costs: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)
    ratios: Mapping[str, Spread] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()

    def facts(self) -> dict[str, Any]:
        """For results.json."""
        return asdict(self)


def tried(row: Row, repeat: int | None) -> Outcome:
    """Measure a row; one that fails says so, and the others go on."""
    times = repeat or row.repeat
    try:
        costs = measure(row.contenders, times, warm=row.is_warm, expected=row.expected)
    except FailedError as error:
        return skipped(row, f"{FAILED}{error}")
    told = {name: {of: spread(runs, of) for of in ("wall", "cpu", "peak")} for name, runs in costs.items()}
    others = [name for name in (FLOOR, SCRIPT) if name in costs]
    compared = {name: ratios(costs, OURS, name) for name in others}
    asked = (goal for goal in GOALS.get(row.name, ()) if goal.against in (*costs, "megabytes"))
    verdicts = tuple(_verdict(goal, costs) for goal in asked)
    return Outcome(row.name, row.what, row.on, row.floor_is, row.script_is, "", times, told, compared, verdicts)


def skipped(row: Row, why: str) -> Outcome:
    """A row without numbers."""
    return Outcome(row.name, row.what, row.on, row.floor_is, row.script_is, why)


def _verdict(goal: Goal, costs: Costs) -> Verdict:
    if goal.against == "megabytes":
        ratio = spread(costs[OURS], goal.of).median / 1e6
    else:
        ratio = ratios(costs, OURS, goal.against, goal.of).median
    return Verdict(str(goal), ratio, ratio <= goal.limit)
